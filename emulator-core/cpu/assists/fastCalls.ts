/**
 * SYSCALL, SYSENTER and their returns, by vendor. SDM Vol. 2, "SYSCALL", "SYSRET", "SYSENTER", "SYSEXIT"; APM Vol. 3, the same, where
 * SYSCALL also works outside of 64-bit mode and SYSENTER only outside of long mode.
 */
import type { CpuContext } from '../cpuContext';
import { DebugStatus } from '../debugRegisters';
import { SegmentIndex, State } from '../layout';
import { Efer, Flag, GuestFault, Rights, Vector, type Vcpu } from '../vcpu';
import type { Assist } from './operands';

const { cs: CS, ss: SS } = SegmentIndex;
const RSP = 4;
const FLAT = 0xffffffff;

function callable(c: CpuContext): void {
  const cpu = c.cpu;
  const here = cpu.bitness === 64 || (cpu.vendor === 'amd' && cpu.protectedMode && !cpu.v8086);
  if (!(cpu.efer & Efer.SCE) || !here) throw new GuestFault(Vector.UD);
}

/** The single-step trap after SYSCALL and SYSRET goes by TF as they leave it. */
function trapByNewFlag(cpu: Vcpu): void {
  if (cpu.systemFlags & Flag.TF) {
    cpu.debugTraps |= DebugStatus.BS;
    cpu.attention = true;
  }
  cpu.trapSuppressed = true;
}

function syscall(c: CpuContext): void {
  callable(c);
  const cpu = c.cpu;
  const star = cpu.get64(State.star);
  const selector = Number((star >> 32n) & 0xfffcn);
  if (!cpu.longMode) {
    // Legacy mode: EIP from STAR, no mask. APM Vol. 3, "SYSCALL", Action.
    cpu.setGpr(1, c.nextRip);
    cpu.rflags &= ~(Flag.IF | Flag.RF | Flag.VM);
    cpu.setSegment(CS, selector, 0n, FLAT, 0xc09b);
    cpu.setSegment(SS, selector + 8, 0n, FLAT, 0xc093);
    cpu.modeChanged();
    c.jump(star & 0xffffffffn);
    trapByNewFlag(cpu);
    return;
  }
  const target = cpu.get64(cpu.bitness === 64 ? State.lstar : State.cstar);
  cpu.setGpr(1, c.nextRip);
  cpu.setGpr(11, BigInt((cpu.rflags & ~Flag.RF) >>> 0));
  cpu.rflags = cpu.rflags & ~Number(cpu.get64(State.fmask) & 0xffffffffn) & ~Flag.RF;
  cpu.setSegment(CS, selector, 0n, FLAT, 0xa09b);
  cpu.setSegment(SS, selector + 8, 0n, FLAT, 0xc093);
  cpu.modeChanged();
  c.jump(target);
  trapByNewFlag(cpu);
}

function sysret(c: CpuContext): void {
  callable(c);
  const cpu = c.cpu;
  if (cpu.cpl !== 0) throw new GuestFault(Vector.GP, 0);
  const amd = cpu.vendor === 'amd';
  const wide = c.operandBytes === 8;
  const target = cpu.gpr(1);
  // AMD processors fault at the target, in ring 3.
  if (wide && !amd && !cpu.canonical(target)) throw new GuestFault(Vector.GP, 0);
  const star = Number((cpu.get64(State.star) >> 48n) & 0xffffn);
  if (cpu.longMode) cpu.rflags = (Number(cpu.gpr(11) & 0xffffffffn) & 0x3c7fd7) | 2;
  else cpu.setSystemFlag(Flag.IF, true);
  cpu.setSegment(CS, (star + (wide ? 16 : 0)) | 3, 0n, FLAT, wide ? 0xa0fb : 0xc0fb);
  if (amd) {
    // Only the selector is loaded: base, limit and attributes of SS stay. CPL, which is kept in SS here, becomes 3.
    const rights = cpu.rights(SS) | (3 << Rights.dplShift);
    cpu.setSegment(SS, (star + 8) | 3, cpu.segmentBase(SS), cpu.segmentLimit(SS), rights);
  } else cpu.setSegment(SS, (star + 8) | 3, 0n, FLAT, 0xc0f3);
  cpu.modeChanged();
  cpu.attention = true;
  c.jump(wide ? target : target & 0xffffffffn);
  trapByNewFlag(cpu);
}

function sysenter(c: CpuContext): void {
  const cpu = c.cpu;
  if (cpu.vendor === 'amd' && cpu.longMode) throw new GuestFault(Vector.UD);
  const selector = cpu.get32(State.sysenterCs) & 0xfffc;
  if (!cpu.protectedMode || selector === 0) throw new GuestFault(Vector.GP, 0);
  for (const flag of [Flag.VM, Flag.IF, Flag.RF]) cpu.setSystemFlag(flag, false);
  cpu.setSegment(CS, selector, 0n, FLAT, cpu.longMode ? 0xa09b : 0xc09b);
  cpu.setSegment(SS, selector + 8, 0n, FLAT, 0xc093);
  const mask = cpu.longMode ? 0xffffffffffffffffn : 0xffffffffn;
  cpu.setGpr(RSP, cpu.get64(State.sysenterEsp) & mask);
  cpu.modeChanged();
  c.jump(cpu.get64(State.sysenterEip) & mask);
}

function sysexit(c: CpuContext): void {
  const cpu = c.cpu;
  // In this order, as an EPYC (family 25, model 1) does it; APM Vol. 3 leaves it open.
  if (cpu.vendor === 'amd' && cpu.longMode)
    throw cpu.cpl === 0 ? new GuestFault(Vector.UD) : new GuestFault(Vector.GP, 0);
  const base = cpu.get32(State.sysenterCs) & 0xfffc;
  if (!cpu.protectedMode || base === 0 || cpu.cpl !== 0) throw new GuestFault(Vector.GP, 0);
  const wide = c.operandBytes === 8;
  const [pointer, target] = [cpu.gpr(1), cpu.gpr(2)];
  if (wide && !(cpu.canonical(pointer) && cpu.canonical(target))) throw new GuestFault(Vector.GP, 0);
  const mask = wide ? 0xffffffffffffffffn : 0xffffffffn;
  const code = (base + (wide ? 32 : 16)) | 3;
  cpu.setGpr(RSP, pointer & mask);
  cpu.setSegment(CS, code, 0n, FLAT, wide ? 0xa0fb : 0xc0fb);
  cpu.setSegment(SS, code + 8, 0n, FLAT, 0xc0f3);
  cpu.modeChanged();
  cpu.attention = true;
  c.jump(target & mask);
}

export const fastCallAssists: Record<string, Assist> = { syscall, sysret, sysenter, sysexit };
