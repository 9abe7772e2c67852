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
import { StateImage } from './stateImage';
import { initializeX87, loadX87, restoreX87, saveX87, x87IsInitial } from './x87Image';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const AVX_COMPONENT = 4;
const PKRU_COMPONENT = 1 << 9;
/** XCOMP_BV's bit for the compacted format, in its high half. */
const COMPACTED = 0x80000000 | 0;
const MXCSR_INITIAL = 0x1f80;
/** Offsets in the legacy region and the header. */
const MXCSR = 24;
const XMM = 160;
/** XCOMP_BV follows. */
const XSTATE_BV = LEGACY_SIZE;

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

/** 16 bytes of each vector register, its low (`half` 0) or high half, at `offset` in the image. */
function saveHalves(image: StateImage, cpu: Vcpu, offset: number, half: number): void {
  const count = vectorRegisters(cpu);
  for (let r = 0; r < count; r++) image.take(cpu, State.ymm + r * 32 + half * 16, offset + r * 16, 16);
  image.store(offset, count * 16);
}
function loadHalves(image: StateImage, cpu: Vcpu, offset: number): void {
  image.load(offset, vectorRegisters(cpu) * 16);
}
function setHalves(image: StateImage, cpu: Vcpu, offset: number, half: number): void {
  for (let r = 0; r < vectorRegisters(cpu); r++) image.give(cpu, State.ymm + r * 32 + half * 16, offset + r * 16, 16);
}
function clearHalves(cpu: Vcpu, half: number): void {
  for (let r = 0; r < vectorRegisters(cpu); r++) {
    const slot = State.ymm + r * 32 + half * 16;
    for (let byte = 0; byte < 16; byte += 4) cpu.set32(slot + byte, 0);
  }
}
function halvesAreZero(cpu: Vcpu, half: number): boolean {
  for (let r = 0; r < vectorRegisters(cpu); r++) {
    const slot = State.ymm + r * 32 + half * 16;
    if (cpu.get32(slot) | cpu.get32(slot + 4) | cpu.get32(slot + 8) | cpu.get32(slot + 12)) return false;
  }
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
  const image = new StateImage();
  /** What MXCSR may hold; AMD's misaligned mode has a bit of its own. */
  const mxcsrMask = features.has('misalignsse') ? 0x2ffff : 0xffff;

  function checkMxcsr(value: number): number {
    if (value & ~mxcsrMask) throw new GuestFault(Vector.GP, 0);
    return value;
  }

  function saveMxcsr(cpu: Vcpu): void {
    image.words[MXCSR >> 2] = cpu.get32(State.mxcsr);
    image.words[(MXCSR >> 2) + 1] = mxcsrMask;
    image.store(MXCSR, 8, 4);
  }
  /** The image's MXCSR, which is read now. */
  function loadMxcsr(): number {
    image.load(MXCSR, 4, 4);
    return image.words[MXCSR >> 2];
  }

  function saveComponents(c: CpuContext, components: number, place: Place): void {
    const { cpu } = c;
    if (components & X87_COMPONENT) saveX87(cpu, image, isWide(c));
    if (components & SSE_COMPONENT) saveHalves(image, cpu, XMM, 0);
    if (components & AVX_COMPONENT) saveHalves(image, cpu, place(2), 1);
    if (components & PKRU_COMPONENT) {
      const at = place(9);
      image.words[at >> 2] = cpu.get32(State.pkru);
      image.words[(at >> 2) + 1] = 0;
      image.store(at, 8);
    }
  }

  function fxsave(c: CpuContext): void {
    unavailable(c, Cr0.TS | Cr0.EM);
    const at = area(c, LEGACY_SIZE, true, 16);
    c.probeWrite(at, LEGACY_SIZE);
    image.begin(c, at);
    saveX87(c.cpu, image, isWide(c));
    if (features.has('sse')) saveMxcsr(c.cpu);
    if (c.cpu.cr4 & Cr4.OSFXSR) saveHalves(image, c.cpu, XMM, 0);
  }

  function fxrstor(c: CpuContext): void {
    unavailable(c, Cr0.TS | Cr0.EM);
    const { cpu } = c;
    const at = area(c, LEGACY_SIZE, false, 16);
    // The whole area must be there, with the part that nothing is loaded from.
    c.probeRead(at);
    c.probeRead(at + BigInt(LEGACY_SIZE - 1));
    image.begin(c, at);
    loadX87(image);
    const vectors = (cpu.cr4 & Cr4.OSFXSR) !== 0;
    if (vectors) loadHalves(image, cpu, XMM);
    if (features.has('sse')) cpu.set32(State.mxcsr, checkMxcsr(loadMxcsr()));
    if (vectors) setHalves(image, cpu, XMM, 0);
    restoreX87(cpu, image, isWide(c));
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
    image.begin(c, at);
    image.load(XSTATE_BV, 8);
    saveComponents(c, written, standardOffset);
    if (asked & (SSE_COMPONENT | AVX_COMPONENT)) saveMxcsr(c.cpu);
    const word = XSTATE_BV >> 2;
    image.words[word] = (image.words[word] & ~asked) | (asked & used);
    image.store(XSTATE_BV, 8);
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
    image.begin(c, at);
    saveComponents(c, written, place);
    if (written & SSE_COMPONENT) saveMxcsr(c.cpu);
    image.words.set([written, 0, asked, COMPACTED], XSTATE_BV >> 2);
    image.store(XSTATE_BV, 16);
  }

  /** The header of an image to restore: which components it holds, and its format. #GP(0) when malformed. */
  function readHeader(cpu: Vcpu, supervisor: boolean): { present: number; place: Place; compacted: boolean } {
    image.load(XSTATE_BV, HEADER_SIZE);
    const header = image.words.subarray(XSTATE_BV >> 2, (XSTATE_BV + HEADER_SIZE) >> 2);
    const [present, presentHigh, format, formatHigh] = header;
    // Of IA32_XSS and XCR0, no bits above 31 exist.
    const enabled = cpu.get32(State.xcr0) | (supervisor ? cpu.get32(State.xss) : 0);
    const compacted = (formatHigh & COMPACTED) !== 0;
    const zero = (from: number, to: number): boolean => header.subarray(from, to).every((word) => word === 0);
    const bad = compacted
      ? !features.has('xsavec') ||
        (format & ~enabled) !== 0 ||
        formatHigh !== COMPACTED ||
        // Bit 63 of XSTATE_BV as well: the one of XCOMP_BV is the format's.
        (present & ~format) !== 0 ||
        presentHigh !== 0 ||
        !zero(4, 16)
      : supervisor || (present & ~enabled) !== 0 || presentHigh !== 0 || !zero(2, 6);
    if (bad) throw new GuestFault(Vector.GP, 0);
    const place: Place = compacted ? (bit) => compactedOffset(format, bit) : standardOffset;
    return { present, place, compacted };
  }

  function restoreExtended(c: CpuContext, supervisor: boolean): void {
    checkXsave(c, supervisor);
    const { cpu } = c;
    const asked = requested(c, supervisor);
    const at = area(c, LEGACY_SIZE + HEADER_SIZE, false, 64);
    // From the lowest address on, which a page fault reports.
    c.probeRead(at);
    image.begin(c, at);
    const { present, place, compacted } = readHeader(cpu, supervisor);
    const loaded = asked & present;
    c.linear(sizeOf(loaded, place), false);
    // All memory is read before anything changes.
    if (loaded & X87_COMPONENT) loadX87(image);
    if (loaded & SSE_COMPONENT) loadHalves(image, cpu, XMM);
    if (loaded & AVX_COMPONENT) loadHalves(image, cpu, place(2));
    if (loaded & PKRU_COMPONENT) image.load(place(9), 4, 4);
    // MXCSR is loaded with SSE or AVX state, whatever XSTATE_BV says; in the compacted format it is part of SSE state.
    const hasMxcsr = compacted ? loaded & SSE_COMPONENT : 1;
    const mxcsr = hasMxcsr ? loadMxcsr() : MXCSR_INITIAL;
    if (asked & (compacted ? SSE_COMPONENT : SSE_COMPONENT | AVX_COMPONENT)) cpu.set32(State.mxcsr, checkMxcsr(mxcsr));
    if (asked & X87_COMPONENT) {
      if (loaded & X87_COMPONENT) restoreX87(cpu, image, isWide(c));
      else initializeX87(cpu);
    }
    if (asked & SSE_COMPONENT) {
      if (loaded & SSE_COMPONENT) setHalves(image, cpu, XMM, 0);
      else clearHalves(cpu, 0);
    }
    if (asked & AVX_COMPONENT) {
      if (loaded & AVX_COMPONENT) setHalves(image, cpu, place(2), 1);
      else clearHalves(cpu, 1);
    }
    if (asked & PKRU_COMPONENT) cpu.setPkru(loaded & PKRU_COMPONENT ? image.words[place(9) >> 2] : 0);
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
