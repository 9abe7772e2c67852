/** The x87 part of the images of FXSAVE and XSAVE. SDM Vol. 2, "FXSAVE", layout of the 512-byte area. */
import type { CpuContext } from '../cpuContext';
import { float80 } from '../fpu/float80';
import { FpuState } from '../fpu/fpuState';
import { State } from '../layout';
import type { Vcpu } from '../vcpu';

/** Puts an image that has been read into the registers. */
export type X87Image = (cpu: Vcpu) => void;

const REGISTERS = 32;
const EMPTY = 3;
const POINTERS = [State.fop, State.fip, State.fcs, State.fdp, State.fds];

const fpu = new FpuState();
function of(cpu: Vcpu): FpuState {
  fpu.cpu = cpu;
  return fpu;
}

/** Saves to the legacy region at `at`. `wide`: with 64-bit pointers and no selectors (REX.W). */
export function saveX87(c: CpuContext, at: bigint, wide: boolean): void {
  const { cpu } = c;
  const { control, status, tags } = of(cpu);
  let used = 0;
  for (let r = 0; r < 8; r++) if (((tags >> (r * 2)) & 3) !== EMPTY) used |= 1 << r;
  const words = BigInt(control) | (BigInt(status) << 16n) | (BigInt(used) << 32n) | (cpu.get64(State.fop) << 48n);
  const pointer = (address: number, selector: number): bigint =>
    wide ? cpu.get64(address) : (cpu.get64(address) & 0xffffffffn) | ((cpu.get64(selector) & 0xffffn) << 32n);
  c.write(at, words, 8);
  c.write(at + 8n, pointer(State.fip, State.fcs), 8);
  c.write(at + 16n, pointer(State.fdp, State.fds), 8);
  for (let i = 0; i < 8; i++) {
    const x = of(cpu).raw(i);
    c.write(at + BigInt(REGISTERS + i * 16), x.significand, 8);
    c.write(at + BigInt(REGISTERS + i * 16 + 8), BigInt(x.signExponent), 8);
  }
}

/** Reads what saveX87 writes. */
export function loadX87(c: CpuContext, at: bigint, wide: boolean): X87Image {
  const [words, code, data] = [0n, 8n, 16n].map((offset) => c.read(at + offset, 8));
  const registers = Array.from({ length: 8 }, (_, i) => {
    const significand = c.read(at + BigInt(REGISTERS + i * 16), 8);
    return float80(Number(c.read(at + BigInt(REGISTERS + i * 16 + 8), 2)), significand);
  });
  return (cpu) => {
    const state = of(cpu);
    const used = Number((words >> 32n) & 0xffn);
    state.status = Number((words >> 16n) & 0xffffn);
    registers.forEach((x, i) => state.set(i, x));
    let tags = 0;
    for (let r = 0; r < 8; r++) if (!(used & (1 << r))) tags |= EMPTY << (r * 2);
    state.tags = tags;
    state.control = Number(words & 0xffffn);
    cpu.set64(State.fop, (words >> 48n) & 0x7ffn);
    for (const [value, address, selector] of [
      [code, State.fip, State.fcs],
      [data, State.fdp, State.fds],
    ] as const) {
      cpu.set64(address, wide ? value : value & 0xffffffffn);
      cpu.set64(selector, wide ? 0n : (value >> 32n) & 0xffffn);
    }
  };
}

/** The initial configuration: as FNINIT leaves it, with data registers of +0. */
export function initializeX87(cpu: Vcpu): void {
  of(cpu).initialize();
  for (let r = 0; r < 16; r++) cpu.set64(State.fpr + r * 8, 0n);
}

export function x87IsInitial(cpu: Vcpu): boolean {
  const { control, status, tags } = of(cpu);
  if (control !== 0x37f || status !== 0 || tags !== 0xffff) return false;
  for (const slot of POINTERS) if (cpu.get64(slot) !== 0n) return false;
  for (let r = 0; r < 16; r++) if (cpu.get64(State.fpr + r * 8) !== 0n) return false;
  return true;
}
