/** Vector instructions that access memory element by element: masked moves and gathers. And EMMS. */
import { CODES } from '../../x86/codes';
import type { CpuContext } from '../cpuContext';
import { Segment, SegmentIndex, State, Uop, UopFlag } from '../layout';
import { Cr0, GuestFault, Vector, type Vcpu } from '../vcpu';
import type { Assist } from './operands';

/** Status word: exception summary; TOP. */
const FSW_ES = 0x80;
const FSW_TOP = 0x3800;
const TAGS_VALID = 0n;
const TAGS_EMPTY = 0xffffn;

/** Lane `i` of the vector register at a state offset. `bytes`: 4 or 8. */
function lane(cpu: Vcpu, register: number, i: number, bytes: 4 | 8): bigint {
  if (bytes === 8) return cpu.get64(register + 8 * i);
  return BigInt(cpu.get32(register + 4 * i) >>> 0);
}
function setLane(cpu: Vcpu, register: number, i: number, bytes: 4 | 8, value: bigint): void {
  if (bytes === 8) cpu.set64(register + 8 * i, value);
  else cpu.set32(register + 4 * i, Number(BigInt.asIntN(32, value)));
}
const negative = (value: bigint, bytes: number): boolean => ((value >> BigInt(8 * bytes - 1)) & 1n) !== 0n;
const VECTOR_BYTES = { mm: 8, xmm: 16, ymm: 32 } as const;

/**
 * VMASKMOVPS, VMASKMOVPD, VPMASKMOVD, VPMASKMOVQ. Elements whose mask is clear are not accessed: a load gives zero, and neither
 * raises an exception for them. SDM Vol. 2, "VMASKMOV—Conditional SIMD Packed Loads and Stores".
 */
const maskedMove =
  (bytes: 4 | 8): Assist =>
  (c) => {
    const { cpu } = c;
    const { operands } = CODES[c.code]!;
    const count = VECTOR_BYTES[operands[1].vector!] / bytes;
    const mask = c.registerOffset(1);
    const wanted = Array.from({ length: count }, (_, i) => i).filter((i) => negative(lane(cpu, mask, i, bytes), bytes));
    if (operands[0].memory) {
      const source = c.registerOffset(2);
      const addresses = wanted.map((i) => c.linear(bytes, true, i * bytes));
      probeElements(c, addresses, bytes);
      wanted.forEach((i, k) => c.write(addresses[k], lane(cpu, source, i, bytes), bytes));
      return;
    }
    const values = wanted.map((i) => c.read(c.linear(bytes, false, i * bytes), bytes));
    const destination = c.registerOffset(0);
    clear(cpu, destination, 0);
    wanted.forEach((i, k) => setLane(cpu, destination, i, bytes, values[k]));
  };

/**
 * Raises what writing the elements of `bytes` at these addresses, in order, would. In the second of two pages the page fault is at
 * the last byte of the last element: seen on Intel processors.
 */
function probeElements(c: CpuContext, addresses: readonly bigint[], bytes: number): void {
  if (!addresses.length) return;
  const last = addresses[addresses.length - 1] + BigInt(bytes - 1);
  const page = (linear: bigint): bigint => linear >> 12n;
  for (const linear of addresses) if (page(linear) !== page(last)) c.probeWrite(linear, 1);
  const [first] = addresses;
  c.probeWrite(page(first) === page(last) ? first : last, 1);
}

/** Does not report #AC, whatever the alignment. SDM Vol. 2, "VMASKMOV" and "VGATHERDPS/VGATHERQPS": exception types 6 and 12. */
const anyAlignment =
  (assist: Assist): Assist =>
  (c) => {
    const { cpu } = c;
    const checks = cpu.checksAlignment;
    cpu.checksAlignment = false;
    try {
      assist(c);
    } finally {
      cpu.checksAlignment = checks;
    }
  };

/** Clears a YMM register from byte `from` (a multiple of 8) on. */
function clear(cpu: Vcpu, register: number, from: number): void {
  for (let i = from; i < 32; i += 8) cpu.set64(register + i, 0n);
}

/** The memory operand's segment for CpuContext.segmentLinear. */
function segmentOf(c: CpuContext): number {
  const struct = c.segmentOfOperand();
  if (struct !== State.flatSegment) return (struct - State.segments) / Segment.size;
  return c.cpu.memory.u8[c.uop + Uop.flags] & UopFlag.stack ? SegmentIndex.ss : SegmentIndex.ds;
}

/**
 * VGATHERxPS, VGATHERxPD, VPGATHERxD, VPGATHERxQ: elements of `bytes`. A fault leaves the elements before it loaded, with their masks
 * clear, so that the instruction can go on later. SDM Vol. 2, "VGATHERDPS/VGATHERQPS", Operation. That no two of the three
 * registers are the same is the decoder's business.
 */
const gather =
  (bytes: 4 | 8): Assist =>
  (c) => {
    const { cpu, uop } = c;
    const { i32, i64, u8, u16 } = cpu.memory;
    const { name, operands } = CODES[c.code]!;
    const [, indexBits, indexFile] = /_vm(32|64)([xy])/.exec(name)!;
    const indexBytes = indexBits === '32' ? 4 : 8;
    const vectorBytes = VECTOR_BYTES[operands[0].vector!];
    const indexVectorBytes = indexFile === 'y' ? 32 : 16;
    const count = Math.min(vectorBytes / bytes, indexVectorBytes / indexBytes);
    const destination = c.registerOffset(0);
    const mask = c.registerOffset(2);
    const base = cpu.get64(i32[(uop + Uop.base) >> 2]);
    const indices = u16[(uop + Uop.index) >> 1];
    const scale = BigInt(u8[uop + Uop.scale]);
    const displacement = i64[(uop + Uop.displacement) >> 3];
    const segment = segmentOf(c);
    // A fault finds the masks widened to whole elements, also those that no index belongs to, and registers cleared above what
    // the instruction works on: the mask at once, the destination with the first element. Seen on Intel processors.
    const width = Math.max(vectorBytes, indexVectorBytes);
    for (let i = 0; i < width / bytes; i++)
      setLane(cpu, mask, i, bytes, negative(lane(cpu, mask, i, bytes), bytes) ? -1n : 0n);
    clear(cpu, mask, width);
    for (let i = 0; i < count; i++) {
      if (negative(lane(cpu, mask, i, bytes), bytes)) {
        const index = BigInt.asIntN(8 * indexBytes, lane(cpu, indices, i, indexBytes));
        const offset = BigInt.asUintN(c.addressBits, base + (index << scale) + displacement);
        setLane(cpu, destination, i, bytes, c.read(c.segmentLinear(segment, offset, bytes, false), bytes));
        clear(cpu, destination, width);
      }
      setLane(cpu, mask, i, bytes, 0n);
    }
    clear(cpu, mask, 0);
    clear(cpu, destination, count * bytes);
  };

/** MASKMOVDQU, MASKMOVQ: bytes of operand 1 whose mask in operand 2 has bit 7 set, to [rDI]. All `count` bytes must be writable. */
function storeMaskedBytes(c: CpuContext, count: number): void {
  const { cpu } = c;
  const { u8 } = cpu.memory;
  const source = cpu.base + c.registerOffset(1);
  const mask = cpu.base + c.registerOffset(2);
  const offset = BigInt.asUintN(c.addressBits, cpu.gpr(7));
  const linear = c.segmentLinear(segmentOf(c), offset, count, true);
  c.probeWrite(linear, count);
  for (let i = 0; i < count; i++) {
    if (u8[mask + i] & 0x80) c.write(linear + BigInt(i), BigInt(u8[source + i]), 1);
  }
}

/** A pending x87 exception comes first, as CR0.NE says. SDM Vol. 3A, "MMX Technology System Programming". */
function checkPending(cpu: Vcpu): void {
  if (cpu.get32(State.fsw) & FSW_ES && cpu.cr0 & Cr0.NE) throw new GuestFault(Vector.MF);
}

/** An MMX instruction leaves TOP 0. SDM Vol. 3A, 13.2 "The MMX State and MMX Register Aliasing". */
function setTopAndTags(cpu: Vcpu, tags: bigint): void {
  cpu.set32(State.fsw, cpu.get32(State.fsw) & ~FSW_TOP);
  cpu.set64(State.ftw, tags);
}

export const vectorMemoryAssists: Record<string, Assist> = {
  maskedMove32: anyAlignment(maskedMove(4)),
  maskedMove64: anyAlignment(maskedMove(8)),
  gather32: anyAlignment(gather(4)),
  gather64: anyAlignment(gather(8)),
  storeBytes: (c) => storeMaskedBytes(c, 16),
  storeBytesMmx: (c) => {
    checkPending(c.cpu);
    // Before the store: a fault of it finds the x87 state changed, on processors too.
    setTopAndTags(c.cpu, TAGS_VALID);
    storeMaskedBytes(c, 8);
  },
  /** EMMS: all x87 registers are empty. */
  emptyMmx: ({ cpu }) => {
    checkPending(cpu);
    setTopAndTags(cpu, TAGS_EMPTY);
  },
};
