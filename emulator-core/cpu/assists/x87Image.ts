/** The x87 part of the images of FXSAVE and XSAVE. SDM Vol. 2, "FXSAVE", layout of the 512-byte area. */
import { FpuState } from '../fpu/fpuState';
import { State } from '../layout';
import type { Vcpu } from '../vcpu';
import type { StateImage } from './stateImage';

const REGISTERS = 32;
const REGISTER_BYTES = 128;
/** Control, status and tag words, opcode, and both pointers. */
const CONTROL_BYTES = 24;
const X87_POINTERS = [
  { word: 2, address: State.fip, selector: State.fcs },
  { word: 4, address: State.fdp, selector: State.fds },
] as const;
const EMPTY = 3;
const POINTERS = [State.fop, State.fip, State.fcs, State.fdp, State.fds];

const fpu = new FpuState();
function of(cpu: Vcpu): FpuState {
  fpu.cpu = cpu;
  return fpu;
}

/** Saves to the legacy region. `wide`: with 64-bit pointers and no selectors (REX.W). */
export function saveX87(cpu: Vcpu, image: StateImage, wide: boolean): void {
  const { control, status, tags, top } = of(cpu);
  const { words } = image;
  let used = 0;
  for (let r = 0; r < 8; r++) if (((tags >> (r * 2)) & 3) !== EMPTY) used |= 1 << r;
  words[0] = control | (status << 16);
  words[1] = used | (cpu.get32(State.fop) << 16);
  for (const { word, address, selector } of X87_POINTERS) {
    words[word] = cpu.get32(address);
    words[word + 1] = wide ? cpu.get32(address + 4) : cpu.get32(selector) & 0xffff;
  }
  for (let i = 0; i < 8; i++) {
    const at = State.fpr + ((top + i) & 7) * 16;
    const word = (REGISTERS + i * 16) >> 2;
    words[word] = cpu.get32(at);
    words[word + 1] = cpu.get32(at + 4);
    words[word + 2] = cpu.get32(at + 8) & 0xffff;
    words[word + 3] = 0;
  }
  image.store(0, CONTROL_BYTES);
  image.store(REGISTERS, REGISTER_BYTES);
}

/** Reads what saveX87 writes. */
export function loadX87(image: StateImage): void {
  image.load(0, CONTROL_BYTES);
  image.load(REGISTERS, REGISTER_BYTES);
}

/** Puts an image that has been read into the registers. */
export function restoreX87(cpu: Vcpu, image: StateImage, wide: boolean): void {
  const { words } = image;
  const state = of(cpu);
  state.status = words[0] >>> 16;
  const { top } = state;
  for (let i = 0; i < 8; i++) {
    const at = State.fpr + ((top + i) & 7) * 16;
    const word = (REGISTERS + i * 16) >> 2;
    cpu.set32(at, words[word]);
    cpu.set32(at + 4, words[word + 1]);
    cpu.set32(at + 8, words[word + 2] & 0xffff);
  }
  let tags = 0;
  for (let r = 0; r < 8; r++) if (!(words[1] & (1 << r))) tags |= EMPTY << (r * 2);
  state.tags = tags;
  state.control = words[0] & 0xffff;
  cpu.set32(State.fop, (words[1] >>> 16) & 0x7ff);
  cpu.set32(State.fop + 4, 0);
  for (const { word, address, selector } of X87_POINTERS) {
    cpu.set32(address, words[word]);
    cpu.set32(address + 4, wide ? words[word + 1] : 0);
    cpu.set32(selector, wide ? 0 : words[word + 1] & 0xffff);
    cpu.set32(selector + 4, 0);
  }
}

/** The initial configuration: as FNINIT leaves it, with data registers of +0. */
export function initializeX87(cpu: Vcpu): void {
  of(cpu).initialize();
  for (let r = 0; r < 16; r++) cpu.set64(State.fpr + r * 8, 0n);
}

export function x87IsInitial(cpu: Vcpu): boolean {
  const { control, status, tags } = of(cpu);
  if (control !== 0x37f || status !== 0 || tags !== 0xffff) return false;
  for (const slot of POINTERS) if (cpu.get32(slot) | cpu.get32(slot + 4)) return false;
  for (let word = 0; word < 64; word++) if (cpu.get32(State.fpr + word * 4)) return false;
  return true;
}
