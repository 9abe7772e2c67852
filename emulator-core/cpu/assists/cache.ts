/** Cache control and wide stores: CLFLUSH and its kin, CLZERO, MOVDIR64B; and RDPID. SDM Vol. 2 and APM Vol. 3, each instruction. */
import { CODES } from '../../x86/codes';
import type { CpuContext } from '../cpuContext';
import { SegmentIndex, State } from '../layout';
import { GuestFault, Vector } from '../vcpu';
import type { Assist } from './operands';

const RAX = 0;
const LINE = 64;

/** Linear address of what rAX points at in DS, or in the segment that a prefix names; the Code's last letter is the address size. */
export function implicitLinear(c: CpuContext, bytes: number, write: boolean, align = 1): bigint {
  const bits = { w: 16, d: 32, q: 64 }[CODES[c.code]!.name.at(-1) as 'w' | 'd' | 'q'];
  const offset = BigInt.asUintN(bits, c.cpu.gpr(RAX)) & ~BigInt(align - 1);
  const struct = c.segmentOfOperand();
  const segment = struct === State.flatSegment ? SegmentIndex.ds : (struct - State.segments) / 64;
  return c.segmentLinear(segment, offset, bytes, write);
}

/** Caches hold nothing here: what is left is the translation and its faults, those of a byte load. */
function flushLine(c: CpuContext): void {
  c.probeRead(c.linear(1, false));
}

function clearLine(c: CpuContext): void {
  const linear = implicitLinear(c, LINE, true, LINE);
  c.probeWrite(linear, LINE);
  for (let i = 0; i < LINE; i += 8) c.write(linear + BigInt(i), 0n, 8);
}

/** 64 bytes to [ES:register], which must be aligned. */
function moveDirect64(c: CpuContext): void {
  const bits = CODES[c.code]!.operands[0].register!;
  const offset = BigInt.asUintN(bits, c.cpu.gpr(c.registerOffset(0) >> 3));
  const source = c.linear(LINE, false);
  const values: bigint[] = [];
  for (let i = 0; i < LINE; i += 8) values.push(c.read(source + BigInt(i), 8));
  const target = c.segmentLinear(SegmentIndex.es, offset, LINE, true);
  if (target & BigInt(LINE - 1)) throw new GuestFault(Vector.GP, 0);
  c.probeWrite(target, LINE);
  values.forEach((value, i) => c.write(target + BigInt(i * 8), value, 8));
}

function readProcessorId(c: CpuContext): void {
  c.cpu.setGpr(c.registerOffset(0) >> 3, c.cpu.get64(State.tscAux) & 0xffffffffn);
}

export const cacheAssists: Record<string, Assist> = { flushLine, clearLine, moveDirect64, readProcessorId };
