/**
 * The x87 environment and state images, and the last instruction's pointers in them.
 * SDM Vol. 1, "Saving the x87 FPU's State with FSTENV/FNSTENV and FSAVE/FNSAVE".
 */
import type { CpuContext } from '../cpuContext';
import { float80 } from '../fpu/float80';
import type { FpuState } from '../fpu/fpuState';
import { Segment, SegmentIndex, State, segmentOffset } from '../layout';
import { GuestFault } from '../vcpu';

/** Notes where the instruction and its operand are. The opcode only with an unmasked exception, as since the Pentium 4. */
export function notePointers(c: CpuContext, fpu: FpuState): void {
  const { cpu } = c;
  cpu.set64(State.fip, c.rip);
  cpu.set64(State.fcs, BigInt(cpu.selector(SegmentIndex.cs)));
  if (c.hasMemory) {
    const segment = c.segmentOfOperand();
    const struct = segment === State.flatSegment ? segmentOffset(SegmentIndex.ds) : segment;
    cpu.set64(State.fdp, c.effectiveAddress());
    cpu.set64(State.fds, BigInt(cpu.get32(struct + Segment.selector) & 0xffff));
  }
  if (fpu.pending) noteOpcode(c);
}

/** The 11 opcode bits: low 3 of the escape byte, then ModRM. */
function noteOpcode(c: CpuContext): void {
  const base = c.cpu.bitness === 64 ? 0n : c.cpu.segmentBase(SegmentIndex.cs);
  const byte = (i: number): number => Number(c.readSystem(base + c.rip + BigInt(i), 1) & 0xffn);
  try {
    // Prefixes come first, and none looks like an escape byte.
    for (let i = 0; i + 1 < c.length; i++) {
      if ((byte(i) & 0xf8) !== 0xd8) continue;
      c.cpu.set64(State.fop, BigInt(((byte(i) & 7) << 8) | byte(i + 1)));
      return;
    }
  } catch (error) {
    // The code is not mapped any more: the last opcode stays.
    if (!(error instanceof GuestFault)) throw error;
  }
}

/** The seven fields in order. */
function environment(c: CpuContext, fpu: FpuState, wide: boolean): bigint[] {
  const { cpu } = c;
  const high = wide ? 0xffff0000n : 0n;
  const words = [fpu.control, fpu.status, fpu.tags].map((word) => high | BigInt(word));
  const get = (slot: number): bigint => cpu.get64(slot);
  if (!cpu.realOrV8086) {
    const selector = wide ? get(State.fcs) | (get(State.fop) << 16n) : get(State.fcs);
    return [...words, get(State.fip), selector, get(State.fdp), high | get(State.fds)];
  }
  // Linear addresses, their upper part in the top bits of the field that follows.
  const code = (get(State.fip) + get(State.fcs) * 16n) & 0xffffffffn;
  const data = (get(State.fdp) + get(State.fds) * 16n) & 0xffffffffn;
  const upper = (address: bigint): bigint => (address >> 16n) << 12n;
  return [...words, high | (code & 0xffffn), upper(code) | get(State.fop), high | (data & 0xffffn), upper(data)];
}

interface Image {
  wide: boolean;
  /** Bytes of a field of the environment, and of the image. */
  field: number;
  bytes: number;
}

/** By the Code's operand: m14byte, m28byte, m94byte, m108byte. */
function imageOf(operand: string): Image {
  const bytes = Number(/\d+/.exec(operand)![0]);
  const wide = bytes === 28 || bytes === 108;
  return { wide, field: wide ? 4 : 2, bytes };
}

/** Writes the environment; returns the linear address behind it. */
function writeEnvironment(c: CpuContext, fpu: FpuState, { wide, field, bytes }: Image): bigint {
  const linear = c.linear(bytes, true);
  c.probeWrite(linear, bytes);
  const mask = wide ? 0xffffffffn : 0xffffn;
  environment(c, fpu, wide).forEach((value, i) => c.write(linear + BigInt(i * field), value & mask, field));
  return linear + BigInt(7 * field);
}

/** FNSTENV. `operand`: as the Code names it. */
export function storeEnvironment(c: CpuContext, fpu: FpuState, operand: string): void {
  writeEnvironment(c, fpu, imageOf(operand));
  // All exceptions are masked afterwards.
  fpu.control = fpu.control | 0x3f;
}

function readEnvironment(c: CpuContext, linear: bigint, { field }: Image): bigint[] {
  return Array.from({ length: 7 }, (_, i) => c.read(linear + BigInt(i * field), field));
}

function setEnvironment(c: CpuContext, fpu: FpuState, values: readonly bigint[], { wide }: Image): void {
  const { cpu } = c;
  const [control, status, tags, code, codeHigh, data, dataHigh] = values;
  fpu.status = Number(status & 0xffffn);
  fpu.tags = Number(tags & 0xffffn);
  fpu.control = Number(control & 0xffffn);
  if (cpu.realOrV8086) {
    const joined = (low: bigint, high: bigint): bigint => (((high >> 12n) << 16n) | (low & 0xffffn)) & 0xffffffffn;
    cpu.set64(State.fip, joined(code, codeHigh));
    cpu.set64(State.fdp, joined(data, dataHigh));
    cpu.set64(State.fcs, 0n);
    cpu.set64(State.fds, 0n);
    cpu.set64(State.fop, codeHigh & 0x7ffn);
    return;
  }
  cpu.set64(State.fip, code);
  cpu.set64(State.fcs, codeHigh & 0xffffn);
  if (wide) cpu.set64(State.fop, (codeHigh >> 16n) & 0x7ffn);
  cpu.set64(State.fdp, data);
  cpu.set64(State.fds, dataHigh & 0xffffn);
}

/** FLDENV. */
export function loadEnvironment(c: CpuContext, fpu: FpuState, operand: string): void {
  const image = imageOf(operand);
  setEnvironment(c, fpu, readEnvironment(c, c.linear(image.bytes, false), image), image);
}

/** FNSAVE: environment and registers, then as FNINIT. */
export function save(c: CpuContext, fpu: FpuState, operand: string): void {
  const at = writeEnvironment(c, fpu, imageOf(operand));
  for (let i = 0; i < 8; i++) {
    const x = fpu.raw(i);
    c.write(at + BigInt(i * 10), x.significand, 8);
    c.write(at + BigInt(i * 10 + 8), BigInt(x.signExponent), 2);
  }
  fpu.initialize();
}

/** FRSTOR. All memory is read before anything changes. */
export function restore(c: CpuContext, fpu: FpuState, operand: string): void {
  const image = imageOf(operand);
  const linear = c.linear(image.bytes, false);
  const values = readEnvironment(c, linear, image);
  const at = linear + BigInt(7 * image.field);
  const registers = Array.from({ length: 8 }, (_, i) => {
    const significand = c.read(at + BigInt(i * 10), 8);
    return float80(Number(c.read(at + BigInt(i * 10 + 8), 2) & 0xffffn), significand);
  });
  setEnvironment(c, fpu, values, image);
  registers.forEach((x, i) => fpu.set(i, x));
  fpu.tags = Number(values[2] & 0xffffn);
}
