/**
 * The memory image of FXSAVE, XSAVE and their kin on its way between guest memory and registers. Parts of it in pages of ordinary RAM
 * are copied at once; elsewhere every piece is an access of its own, with the faults, exits and watchpoints that belong to it.
 */
import type { CpuContext } from '../cpuContext';
import { PAGE } from '../layout';
import type { Vcpu } from '../vcpu';
import { STATE_COMPONENTS } from '../stateComponents';

const BYTES = Math.max(...STATE_COMPONENTS.map(({ offset, size }) => offset + size));
/** An image is shorter than a page: it lies in two of them at most. */
const UNKNOWN = -2;

export class StateImage {
  /** The image's 32-bit words. Only those that load() has read, or that are about to be stored, mean anything. */
  readonly words = new Int32Array(BYTES / 4);
  private context!: CpuContext;
  private at = 0n;
  /** Offset of the image in its first page. */
  private start = 0;
  /** Where the two pages are in the machine's memory: see CpuContext.ordinaryPage. */
  private readonly readable = [UNKNOWN, UNKNOWN];
  private readonly writable = [UNKNOWN, UNKNOWN];

  /** The image at linear address `at`, a multiple of 16. */
  begin(c: CpuContext, at: bigint): void {
    this.context = c;
    this.at = at;
    this.start = Number(BigInt.asUintN(12, at));
    this.readable.fill(UNKNOWN);
    this.writable.fill(UNKNOWN);
  }

  /** Reads `bytes` bytes at `offset`, in rising order and in pieces of `size` bytes. What a read throws passes through. */
  load(offset: number, bytes: number, size: 4 | 8 = 8): void {
    const { words, context } = this;
    const { i32 } = context.cpu.memory;
    for (let from = offset, end = offset + bytes; from < end;) {
      const stop = this.endOfPart(from, end);
      const page = this.page(from, false);
      if (page >= 0) {
        const source = (page + ((this.start + from) & (PAGE - 1)) - from) / 4;
        for (let w = from >> 2; w < stop >> 2; w++) words[w] = i32[source + w];
      } else {
        for (let piece = from; piece < stop; piece += size) {
          const value = context.read(this.at + BigInt(piece), size);
          words[piece >> 2] = Number(BigInt.asIntN(32, value));
          if (size === 8) words[(piece >> 2) + 1] = Number(BigInt.asIntN(32, value >> 32n));
        }
      }
      from = stop;
    }
  }

  /** Writes words as load() reads them, in pieces of `size` bytes. The whole image has been probed for writing. */
  store(offset: number, bytes: number, size: 4 | 8 = 8): void {
    const { words, context } = this;
    const { i32 } = context.cpu.memory;
    for (let from = offset, end = offset + bytes; from < end;) {
      const stop = this.endOfPart(from, end);
      const page = this.page(from, true);
      if (page >= 0) {
        const target = (page + ((this.start + from) & (PAGE - 1)) - from) / 4;
        for (let w = from >> 2; w < stop >> 2; w++) i32[target + w] = words[w];
      } else {
        for (let piece = from; piece < stop; piece += size) {
          const upper = size === 8 ? BigInt(words[(piece >> 2) + 1]) << 32n : 0n;
          context.write(this.at + BigInt(piece), upper | BigInt(words[piece >> 2] >>> 0), size);
        }
      }
      from = stop;
    }
  }

  /** Where the part of [from, end) ends that is in one page. */
  private endOfPart(from: number, end: number): number {
    const boundary = PAGE - this.start;
    return from < boundary && boundary < end ? boundary : end;
  }

  private page(offset: number, write: boolean): number {
    const known = write ? this.writable : this.readable;
    const which = this.start + offset < PAGE ? 0 : 1;
    if (known[which] === UNKNOWN) known[which] = this.context.ordinaryPage(this.at + BigInt(offset), write);
    return known[which];
  }

  /** Copies `bytes` from the vCPU's state at `slot` to the image at `offset`. */
  take(cpu: Vcpu, slot: number, offset: number, bytes: number): void {
    const { i32 } = cpu.memory;
    const from = (cpu.base + slot) >> 2;
    for (let w = 0; w < bytes >> 2; w++) this.words[(offset >> 2) + w] = i32[from + w];
  }

  /** Copies `bytes` from the image to the vCPU's state. */
  give(cpu: Vcpu, slot: number, offset: number, bytes: number): void {
    const { i32 } = cpu.memory;
    const to = (cpu.base + slot) >> 2;
    for (let w = 0; w < bytes >> 2; w++) i32[to + w] = this.words[(offset >> 2) + w];
  }
}
