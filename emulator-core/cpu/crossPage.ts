/**
 * Instructions whose bytes lie in two pages: fetched with the mappings of now each time. What they were decoded to is kept with their
 * bytes, as the same few come again and again.
 */
import { PAGE, SegmentIndex, State, Uop } from './layout';
import type { MachineMemory } from '../mmu/memory';
import { InstructionDecoder, SpecialCode } from '../x86/decode';
import { decodeContext } from './codeFetch';
import type { Vcpu } from './vcpu';

const MAX_LENGTH = 15;
/** Instructions that are kept: a power of two. */
const KEPT = 256;

interface Kept {
  contextKey: string;
  /** Its offset in the first page. */
  ip: number;
  bytes: Uint8Array;
  uop: Uint32Array;
}

export class CrossPageInstructions {
  private readonly kept: (Kept | undefined)[] = new Array<undefined>(KEPT).fill(undefined);
  private readonly bytes = new Uint8Array(2 * MAX_LENGTH);

  constructor(
    private readonly memory: MachineMemory,
    private readonly decoder: InstructionDecoder,
  ) {}

  /**
   * Writes the micro-op of the instruction at rip, a block of its own, to `at`. `low` and `high`: guest-physical addresses of its
   * first byte and of the second page. Returns the instruction's length.
   */
  write(cpu: Vcpu, at: number, low: number, high: number): number {
    const { memory, bytes } = this;
    const { u8, u32, i32, ramBase } = memory;
    const ip = low % PAGE;
    const first = PAGE - ip;
    for (let i = 0; i < first; i++) bytes[i] = u8[ramBase + low + i];
    for (let i = 0; i < MAX_LENGTH; i++) bytes[first + i] = u8[ramBase + high + i];
    const fetchable = fetchableBytes(cpu);
    const kept = this.kept[(low / PAGE) & (KEPT - 1)];
    const known = kept?.contextKey === cpu.contextKey && kept.ip === ip && kept.bytes.length <= fetchable;
    if (known && beginsWith(bytes, kept.bytes)) {
      u32.set(kept.uop, at >> 2);
      return kept.bytes.length;
    }
    const { decoder } = this;
    decoder.begin(cpu.bitness, bytes.slice(0, first + MAX_LENGTH), ip);
    decoder.next();
    const { length } = decoder;
    const whole = length <= fetchable;
    if (!whole) decoder.refuse(SpecialCode.unfetchable);
    decoder.write(at, ip, decodeContext(cpu));
    i32[(at + Uop.left) >> 2] = 1;
    if (i32[(at + Uop.target) >> 2] === 0) i32[(at + Uop.target) >> 2] = -1;
    // What lies beyond CS's limit depends on rip, too.
    if (whole) {
      const uop = u32.slice(at >> 2, (at + Uop.bytes) >> 2);
      this.kept[(low / PAGE) & (KEPT - 1)] = { contextKey: cpu.contextKey, ip, bytes: bytes.slice(0, length), uop };
    }
    return length;
  }
}

/** A loop, as a closure for each such instruction would be much garbage. */
function beginsWith(bytes: Uint8Array, head: Uint8Array): boolean {
  for (let i = 0; i < head.length; i++) if (bytes[i] !== head[i]) return false;
  return true;
}

/** Bytes from rip, which is within CS's limit, to the limit. */
function fetchableBytes(cpu: Vcpu): number {
  return cpu.bitness === 64 ? MAX_LENGTH : cpu.segmentLimit(SegmentIndex.cs) - (cpu.get32(State.rip) >>> 0) + 1;
}
