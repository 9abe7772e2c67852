/**
 * FXSAVE, FXRSTOR, the XSAVE family, XGETBV, LDMXCSR and STMXCSR.
 * SDM Vol. 1, "Managing State Using the XSAVE Feature Set"; Vol. 2, "FXSAVE" for the legacy region's layout.
 * An instruction that faults has changed neither memory nor registers.
 */
import { CODES } from '../../x86/codes';
import type { CpuContext } from '../cpuContext';
import { State } from '../layout';
import {
  HEADER_SIZE,
  LEGACY_SIZE,
  SSE_COMPONENT,
  STATE_COMPONENTS,
  X87_COMPONENT,
  compactedOffset,
  standardOffset,
} from '../stateComponents';
import { Cr0, Cr4, GuestFault, Vector, type Vcpu } from '../vcpu';
import type { Assist } from './operands';
import { initializeX87, loadX87, saveX87, x87IsInitial, type X87Image } from './x87Image';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const AVX_COMPONENT = 4;
const PKRU_COMPONENT = 1 << 9;
/** XCOMP_BV's bit for the compacted format. */
const COMPACTED = 1n << 63n;
const MXCSR_INITIAL = 0x1f80;
/** Offsets in the legacy region and the header. */
const MXCSR = 24;
const XMM = 160;
const XSTATE_BV = LEGACY_SIZE;
const XCOMP_BV = LEGACY_SIZE + 8;

function unavailable(c: CpuContext, bits: number): void {
  if (c.cpu.cr0 & bits) throw new GuestFault(Vector.NM);
}

/** Linear address of the memory operand, `bytes` wide, which must be aligned. */
function area(c: CpuContext, bytes: number, write: boolean, alignment: number): bigint {
  const linear = c.linear(bytes, write);
  if (linear & BigInt(alignment - 1)) throw new GuestFault(Vector.GP, 0);
  return linear;
}

/** XMM and YMM registers that the mode has. */
function vectorRegisters(cpu: Vcpu): number {
  return cpu.bitness === 64 ? 16 : 8;
}
const isWide = (c: CpuContext): boolean => CODES[c.code]!.row.mnemonic.endsWith('64');

/** 16 bytes of each vector register: its low (`half` 0) or high half. */
function saveHalves(c: CpuContext, at: bigint, half: number): void {
  for (let r = 0; r < vectorRegisters(c.cpu); r++) {
    const slot = State.ymm + r * 32 + half * 16;
    c.write(at + BigInt(r * 16), c.cpu.get64(slot), 8);
    c.write(at + BigInt(r * 16 + 8), c.cpu.get64(slot + 8), 8);
  }
}
function loadHalves(c: CpuContext, at: bigint): bigint[] {
  return Array.from({ length: vectorRegisters(c.cpu) * 2 }, (_, i) => c.read(at + BigInt(i * 8), 8));
}
function setHalves(cpu: Vcpu, half: number, values: readonly bigint[]): void {
  for (let i = 0; i < vectorRegisters(cpu) * 2; i++)
    cpu.set64(State.ymm + (i >> 1) * 32 + half * 16 + (i & 1) * 8, values[i] ?? 0n);
}
function halvesAreZero(cpu: Vcpu, half: number): boolean {
  for (let i = 0; i < vectorRegisters(cpu) * 2; i++)
    if (cpu.get64(State.ymm + (i >> 1) * 32 + half * 16 + (i & 1) * 8) !== 0n) return false;
  return true;
}

/** XINUSE: components that differ from their initial configuration. MXCSR is not looked at. SDM Vol. 1, "Processor Tracking of XSAVE-Managed State". */
function inUse(cpu: Vcpu): number {
  return (
    (x87IsInitial(cpu) ? 0 : X87_COMPONENT) |
    (halvesAreZero(cpu, 0) ? 0 : SSE_COMPONENT) |
    (halvesAreZero(cpu, 1) ? 0 : AVX_COMPONENT) |
    (cpu.get32(State.pkru) === 0 ? 0 : PKRU_COMPONENT)
  );
}

/** Components that EDX:EAX asks for and that are enabled. */
function requested(c: CpuContext, supervisor: boolean): number {
  const { cpu } = c;
  const enabled = cpu.get32(State.xcr0) | (supervisor ? cpu.get32(State.xss) : 0);
  return enabled & cpu.gpr32(RAX);
}

/** Where component `bit` of the extended region lies. */
type Place = (bit: number) => number;

/** Bytes up to the end of the last of `components`. */
function sizeOf(components: number, place: Place): number {
  let size = LEGACY_SIZE + HEADER_SIZE;
  for (const { bit, size: bytes } of STATE_COMPONENTS)
    if (components & (1 << bit)) size = Math.max(size, place(bit) + bytes);
  return size;
}

/** The checks that all of the XSAVE family begin with. */
function checkXsave(c: CpuContext, supervisor = false): void {
  if (!(c.cpu.cr4 & Cr4.OSXSAVE)) throw new GuestFault(Vector.UD);
  if (supervisor && c.cpu.cpl !== 0) throw new GuestFault(Vector.GP, 0);
  unavailable(c, Cr0.TS);
}

/** State assists of a processor with these CPUID features. */
export function stateAssists(features: ReadonlySet<string>): Record<string, Assist> {
  /** What MXCSR may hold; AMD's misaligned mode has a bit of its own. */
  const mxcsrMask = features.has('misalignsse') ? 0x2ffff : 0xffff;

  function checkMxcsr(value: number): number {
    if (value & ~mxcsrMask) throw new GuestFault(Vector.GP, 0);
    return value;
  }

  function saveMxcsr(c: CpuContext, at: bigint): void {
    c.write(at + BigInt(MXCSR), BigInt(c.cpu.get32(State.mxcsr) >>> 0), 4);
    c.write(at + BigInt(MXCSR + 4), BigInt(mxcsrMask), 4);
  }

  function saveComponents(c: CpuContext, at: bigint, components: number, place: Place): void {
    if (components & X87_COMPONENT) saveX87(c, at, isWide(c));
    if (components & SSE_COMPONENT) saveHalves(c, at + BigInt(XMM), 0);
    if (components & AVX_COMPONENT) saveHalves(c, at + BigInt(place(2)), 1);
    if (components & PKRU_COMPONENT) c.write(at + BigInt(place(9)), BigInt(c.cpu.get32(State.pkru) >>> 0), 8);
  }

  function fxsave(c: CpuContext): void {
    unavailable(c, Cr0.TS | Cr0.EM);
    const at = area(c, LEGACY_SIZE, true, 16);
    c.probeWrite(at, LEGACY_SIZE);
    saveX87(c, at, isWide(c));
    if (features.has('sse')) saveMxcsr(c, at);
    if (c.cpu.cr4 & Cr4.OSFXSR) saveHalves(c, at + BigInt(XMM), 0);
  }

  function fxrstor(c: CpuContext): void {
    unavailable(c, Cr0.TS | Cr0.EM);
    const at = area(c, LEGACY_SIZE, false, 16);
    // The whole area must be there, with the part that nothing is loaded from.
    c.probeRead(at);
    c.probeRead(at + BigInt(LEGACY_SIZE - 1));
    const x87 = loadX87(c, at, isWide(c));
    const xmm = c.cpu.cr4 & Cr4.OSFXSR ? loadHalves(c, at + BigInt(XMM)) : undefined;
    if (features.has('sse')) c.cpu.set32(State.mxcsr, checkMxcsr(Number(c.read(at + BigInt(MXCSR), 4))));
    if (xmm) setHalves(c.cpu, 0, xmm);
    x87(c.cpu);
  }

  /** XSAVE and XSAVEOPT: the standard format. XSTATE_BV keeps the bits of components that are not asked for. */
  function saveStandard(c: CpuContext, optimized: boolean): void {
    checkXsave(c);
    const asked = requested(c, false);
    const used = inUse(c.cpu);
    const written = optimized ? asked & used : asked;
    const size = sizeOf(written, standardOffset);
    const at = area(c, size, true, 64);
    c.probeWrite(at, size);
    const before = c.read(at + BigInt(XSTATE_BV), 8);
    saveComponents(c, at, written, standardOffset);
    if (asked & (SSE_COMPONENT | AVX_COMPONENT)) saveMxcsr(c, at);
    c.write(at + BigInt(XSTATE_BV), (before & ~BigInt(asked)) | BigInt(asked & used), 8);
  }

  /** XSAVEC and XSAVES: the compacted format, without components in their initial configuration. MXCSR belongs to SSE. */
  function saveCompacted(c: CpuContext, supervisor: boolean): void {
    checkXsave(c, supervisor);
    const asked = requested(c, supervisor);
    const used = inUse(c.cpu) | (c.cpu.get32(State.mxcsr) === MXCSR_INITIAL ? 0 : SSE_COMPONENT);
    const written = asked & used;
    const place: Place = (bit) => compactedOffset(asked, bit);
    const size = sizeOf(written, place);
    const at = area(c, size, true, 64);
    c.probeWrite(at, size);
    saveComponents(c, at, written, place);
    if (written & SSE_COMPONENT) saveMxcsr(c, at);
    c.write(at + BigInt(XSTATE_BV), BigInt(written), 8);
    c.write(at + BigInt(XCOMP_BV), COMPACTED | BigInt(asked), 8);
  }

  /** The header of an image to restore: which components it holds, and its format. #GP(0) when malformed. */
  function readHeader(
    c: CpuContext,
    at: bigint,
    supervisor: boolean,
  ): { present: number; place: Place; compacted: boolean } {
    const header = Array.from({ length: 8 }, (_, i) => c.read(at + BigInt(XSTATE_BV + i * 8), 8));
    const [present, format] = header;
    const enabled = BigInt((c.cpu.get32(State.xcr0) | (supervisor ? c.cpu.get32(State.xss) : 0)) >>> 0);
    const compacted = (format & COMPACTED) !== 0n;
    const bad = compacted
      ? !features.has('xsavec') ||
        (format & ~COMPACTED & ~enabled) !== 0n ||
        // Bit 63 as well: the one of XCOMP_BV is the format's.
        (present & ~(format & ~COMPACTED)) !== 0n ||
        header.slice(2).some((word) => word !== 0n)
      : supervisor || (present & ~enabled) !== 0n || format !== 0n || header[2] !== 0n;
    if (bad) throw new GuestFault(Vector.GP, 0);
    const place: Place = compacted ? (bit) => compactedOffset(Number(format & 0xffffffffn), bit) : standardOffset;
    return { present: Number(present & 0xffffffffn), place, compacted };
  }

  function restoreExtended(c: CpuContext, supervisor: boolean): void {
    checkXsave(c, supervisor);
    const { cpu } = c;
    const asked = requested(c, supervisor);
    const at = area(c, LEGACY_SIZE + HEADER_SIZE, false, 64);
    // From the lowest address on, which a page fault reports.
    c.probeRead(at);
    const { present, place, compacted } = readHeader(c, at, supervisor);
    const loaded = asked & present;
    c.linear(sizeOf(loaded, place), false);
    // All memory is read before anything changes.
    const x87: X87Image = loaded & X87_COMPONENT ? loadX87(c, at, isWide(c)) : initializeX87;
    const xmm = loaded & SSE_COMPONENT ? loadHalves(c, at + BigInt(XMM)) : [];
    const upper = loaded & AVX_COMPONENT ? loadHalves(c, at + BigInt(place(2))) : [];
    const pkru = loaded & PKRU_COMPONENT ? Number(c.read(at + BigInt(place(9)), 4)) | 0 : 0;
    // MXCSR is loaded with SSE or AVX state, whatever XSTATE_BV says; in the compacted format it is part of SSE state.
    const hasMxcsr = compacted ? loaded & SSE_COMPONENT : 1;
    const mxcsr = hasMxcsr ? Number(c.read(at + BigInt(MXCSR), 4)) : MXCSR_INITIAL;
    if (asked & (compacted ? SSE_COMPONENT : SSE_COMPONENT | AVX_COMPONENT)) cpu.set32(State.mxcsr, checkMxcsr(mxcsr));
    if (asked & X87_COMPONENT) x87(cpu);
    if (asked & SSE_COMPONENT) setHalves(cpu, 0, xmm);
    if (asked & AVX_COMPONENT) setHalves(cpu, 1, upper);
    if (asked & PKRU_COMPONENT) cpu.setPkru(pkru);
  }

  function readExtendedControl(c: CpuContext): void {
    const { cpu } = c;
    if (!(cpu.cr4 & Cr4.OSXSAVE)) throw new GuestFault(Vector.UD);
    const register = cpu.gpr32(RCX);
    if (register > 1 || (register === 1 && !features.has('xgetbv1'))) throw new GuestFault(Vector.GP, 0);
    const xcr0 = cpu.get32(State.xcr0);
    cpu.setGpr32(RAX, register === 0 ? xcr0 : xcr0 & inUse(cpu));
    cpu.setGpr32(RDX, 0);
  }

  return {
    fxsave,
    fxrstor,
    xsave: (c) => saveStandard(c, false),
    xsaveopt: (c) => saveStandard(c, true),
    xsavec: (c) => saveCompacted(c, false),
    xsaves: (c) => saveCompacted(c, true),
    xrstor: (c) => restoreExtended(c, false),
    xrstors: (c) => restoreExtended(c, true),
    readExtendedControl,
    loadMxcsr: (c) => c.cpu.set32(State.mxcsr, checkMxcsr(Number(c.read(c.linear(4, false), 4)))),
    storeMxcsr: (c) => c.write(c.linear(4, true), BigInt(c.cpu.get32(State.mxcsr) >>> 0), 4),
  };
}
