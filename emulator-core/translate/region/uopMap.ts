/** Numbers of micro-ops: a map that is emptied at once and makes no garbage, for planning, which asks it for every micro-op. */
import { Uop } from '../../cpu/layout';

const UOP_BITS = Math.log2(Uop.bytes);
/** Spreads neighbours, which follow each other all the time, and those of other pages. */
const FACTOR = 0x9e3779b1;

export class UopMap {
  private readonly uops: Int32Array;
  private readonly numbers: Int32Array;
  /** Entries of other rounds are empty. */
  private readonly rounds: Int32Array;
  private round = 1;
  private readonly shift: number;

  /** @param most micro-ops at most */
  constructor(most: number) {
    const bits = Math.ceil(Math.log2(most * 2));
    this.shift = 32 - bits;
    this.uops = new Int32Array(1 << bits);
    this.numbers = new Int32Array(1 << bits);
    this.rounds = new Int32Array(1 << bits);
  }

  clear(): void {
    this.round++;
  }

  /** -1: none. */
  get(uop: number): number {
    const at = this.find(uop);
    return this.rounds[at] === this.round ? this.numbers[at] : -1;
  }

  set(uop: number, number: number): void {
    const at = this.find(uop);
    this.rounds[at] = this.round;
    this.uops[at] = uop;
    this.numbers[at] = number;
  }

  /** Its entry, or where it would be. */
  private find(uop: number): number {
    const { uops, rounds, round } = this;
    const mask = uops.length - 1;
    let at = Math.imul(uop >> UOP_BITS, FACTOR) >>> this.shift;
    while (rounds[at] === round && uops[at] !== uop) at = (at + 1) & mask;
    return at;
  }
}
