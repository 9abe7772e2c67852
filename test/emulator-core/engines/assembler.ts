/** Puts instructions one behind the other, with branches to labels that are placed later. */
import { CODE } from '../../differential/protocol';
import { BRANCH_TABLE, CODE_PAGES, PAGE, ripOf, type World } from './world';

/** A branch's displacement, or an entry of the branch table, to be filled in. */
interface Fixup {
  label: number;
  /** Offset in the code, or number of the table's entry. */
  at: number;
  bytes: 1 | 2 | 4 | 8;
  /** Offset that the displacement counts from; undefined: an entry of the table. */
  from?: number;
}

export interface Placed {
  /** Offset in the code. */
  at: number;
  length: number;
}

/** Between blocks: an exception in the branch before leads through there. */
const NOP = 0x90;

/** A displacement that does not fit: the program is given up. */
export class TooFar extends Error {}

export class Assembler {
  readonly code = new Uint8Array(CODE_PAGES * PAGE).fill(NOP);
  readonly instructions: Placed[] = [];
  /** Offset of each label; undefined until it is placed. */
  readonly labels: (number | undefined)[] = [];
  readonly table = new Uint8Array(256);
  private tableEntries = 0;
  private readonly fixups: Fixup[] = [];
  /** Offset of what comes next. */
  at = 0;

  constructor(readonly world: World) {}

  /** Linear address below 4 GiB, or without a segment's base. */
  get address(): number {
    return CODE + this.at;
  }
  get room(): number {
    return this.code.length - this.at;
  }

  emit(...bytes: number[]): void {
    this.put(Uint8Array.from(bytes));
  }
  put(bytes: Uint8Array): void {
    if (bytes.length > this.room) throw new TooFar();
    this.code.set(bytes, this.at);
    this.instructions.push({ at: this.at, length: bytes.length });
    this.at += bytes.length;
  }

  place(label: number): void {
    this.labels[label] = this.at;
  }

  /** `opcode`, and a displacement to the label in `bytes`. */
  branch(opcode: readonly number[], bytes: 1 | 2 | 4, label: number): void {
    const end = this.at + opcode.length + bytes;
    this.fixups.push({ label, at: this.at + opcode.length, bytes, from: end });
    this.emit(...opcode, ...new Array<number>(bytes).fill(0));
  }

  /** Operand of a branch by displacement of its usual size. */
  get near(): 2 | 4 {
    return this.world.bitness === 16 ? 2 : 4;
  }

  /** Address of a table with the labels' addresses, in pointers of the mode's size. */
  addressTable(labels: readonly number[]): number {
    const bytes = (this.world.bitness / 8) as 2 | 4 | 8;
    const first = this.tableEntries;
    if ((first + labels.length) * bytes > this.table.length) throw new TooFar();
    for (const label of labels) this.fixups.push({ label, at: this.tableEntries++, bytes });
    return BRANCH_TABLE + first * bytes;
  }

  /** `opcode` and the label's address as an immediate: of 2, 4 or 8 bytes by mode. */
  addressOf(opcode: readonly number[], label: number): void {
    const bytes = (this.world.bitness / 8) as 2 | 4 | 8;
    const at = this.at + opcode.length;
    this.emit(...opcode, ...new Array<number>(bytes).fill(0));
    this.absolute.push({ label, at, bytes });
  }
  private readonly absolute: Fixup[] = [];

  /** Fills in all displacements. */
  finish(): void {
    const code = new DataView(this.code.buffer);
    const table = new DataView(this.table.buffer);
    const write = (view: DataView, at: number, bytes: number, value: bigint): void => {
      for (let i = 0; i < bytes; i++) view.setUint8(at + i, Number((value >> BigInt(8 * i)) & 0xffn));
    };
    const target = (label: number): number => {
      const at = this.labels[label];
      if (at === undefined) throw new TooFar();
      return at;
    };
    for (const { label, at, bytes, from } of this.fixups) {
      if (from === undefined) {
        write(table, at * bytes, bytes, ripOf(this.world, CODE + target(label)));
        continue;
      }
      const distance = target(label) - from;
      if (bytes === 1 && (distance < -128 || distance > 127)) throw new TooFar();
      write(code, at, bytes, BigInt(distance));
    }
    for (const { label, at, bytes } of this.absolute) write(code, at, bytes, ripOf(this.world, CODE + target(label)));
  }
}
