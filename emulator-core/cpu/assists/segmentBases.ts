/** FS and GS bases without descriptors. SDM Vol. 2, "SWAPGS", "RDFSBASE/RDGSBASE", "WRFSBASE/WRGSBASE". */
import { CODES } from '../../x86/codes';
import type { CpuContext } from '../cpuContext';
import { SegmentIndex, State } from '../layout';
import { Cr4, GuestFault, Vector } from '../vcpu';
import { privileged, type Assist } from './operands';

function swapGs(c: CpuContext): void {
  const cpu = c.cpu;
  if (cpu.bitness !== 64) throw new GuestFault(Vector.UD);
  privileged(c);
  const base = cpu.segmentBase(SegmentIndex.gs);
  cpu.setSegmentBase(SegmentIndex.gs, cpu.get64(State.kernelGsBase));
  cpu.set64(State.kernelGsBase, base);
}

/** FS or GS by the mnemonic. #UD outside of 64-bit mode and without CR4.FSGSBASE. */
function segment(c: CpuContext): number {
  if (c.cpu.bitness !== 64 || !(c.cpu.cr4 & Cr4.FSGSBASE)) throw new GuestFault(Vector.UD);
  return CODES[c.code]!.row.mnemonic.includes('fs') ? SegmentIndex.fs : SegmentIndex.gs;
}

export const segmentBaseAssists: Record<string, Assist> = {
  swapGs,
  readSegmentBase: (c) => {
    const base = c.cpu.segmentBase(segment(c));
    c.cpu.setGprSized(c.registerOffset(0) >> 3, base, c.operandBytes);
  },
  writeSegmentBase: (c) => {
    const to = segment(c);
    const base = BigInt.asUintN(c.operandBytes * 8, c.cpu.gpr(c.registerOffset(0) >> 3));
    // By the paging mode, unlike bases that WRMSR, LGDT or LLDT load: seen on an Intel processor with LA57, under 4-level paging.
    if (!c.cpu.canonical(base)) throw new GuestFault(Vector.GP, 0);
    c.cpu.setSegmentBase(to, base);
  },
};
