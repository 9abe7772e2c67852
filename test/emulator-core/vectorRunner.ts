/**
 * Runs one instruction as test vectors do: code at CODE, 256 bytes of data at DATA, all general registers and the arithmetic
 * flags given; runs until the INT3 behind the code (or an exception), and reads everything back.
 */
import { State } from '../../emulator-core/cpu/layout';
import { Cr4 } from '../../emulator-core/cpu/vcpu';
import { INTERRUPT_STACK, TestMachine } from './testMachine';

export const DATA = 0x200000;
export const CODE = 0x300800;
export const DATA_BYTES = 256;

export interface VectorInput {
  mode: 32 | 64;
  code: Uint8Array;
  gpr: bigint[];
  flags: number;
  memory: Uint8Array;
  vectors?: VectorRegisters;
}
export interface VectorRegisters {
  /** MM0..7 (64 bits) and YMM0..15 (256 bits) as numbers. */
  mm: bigint[];
  ymm: bigint[];
  mxcsr: number;
}
export function noVectors(): VectorRegisters {
  return { mm: new Array<bigint>(8).fill(0n), ymm: new Array<bigint>(16).fill(0n), mxcsr: 0x1f80 };
}
export interface VectorOutput {
  gpr: bigint[];
  flags: number;
  /** Address of the next instruction (the INT3 it ran into), or of the faulting one. */
  rip: number;
  /** 3: done; else the exception. */
  vector: number;
  memory: Uint8Array;
  vectors: VectorRegisters;
}

export class VectorRunner {
  private readonly machines = new Map<number, TestMachine>();
  constructor(
    private readonly features: readonly string[] = [],
    private readonly vendor: 'intel' | 'amd' = 'intel',
  ) {}

  run(input: VectorInput): VectorOutput {
    let t = this.machines.get(input.mode);
    if (!t) {
      t = new TestMachine({ vendor: this.vendor, features: this.features }).enter(input.mode === 64 ? '64' : 'compat');
      t.write(CODE & ~0xfff, new Uint8Array(4096).fill(0xcc));
      // POPF may enable interrupts: the timer keeps quiet.
      t.machine.platform.bus.writePort(0x21, 0xff, 1);
      this.machines.set(input.mode, t);
    }
    const { cpu, machine } = t;
    const wide = input.mode === 64;
    // Back from the last case's handler, which is 64-bit code.
    if (wide) t.segment('cs', 0x08, 0, 0xffffffff, 0xa09b);
    else t.segment('cs', 0x18, 0, 0xffffffff, 0xc09b);
    t.segment('ss', 0x10, 0, 0xffffffff, 0xc093);
    t.write(DATA, input.memory);
    const code = new Uint8Array(16).fill(0xcc);
    code.set(input.code);
    t.write(CODE, code);
    input.gpr.forEach((value, i) => cpu.setGpr(i, value));
    this.enableVectors(t, input.vectors ?? noVectors());
    cpu.rflags = input.flags | 2;
    cpu.rip = BigInt(CODE);
    cpu.pending = undefined;
    machine.run(600);
    const vector = t.vector;
    if (vector === undefined) throw new Error(`the code ran to 0x${cpu.rip.toString(16)}`);
    const frame = INTERRUPT_STACK - 40;
    const gpr = input.gpr.map((_, i) => cpu.gpr(i));
    gpr[4] = t.read64(frame + 24);
    const at = Number(t.read64(frame));
    return {
      gpr,
      flags: Number(t.read64(frame + 16)) & 0xcd5,
      rip: vector === 3 ? at - 1 : at,
      vector,
      memory: t.read(DATA, DATA_BYTES),
      vectors: {
        mm: Array.from({ length: 8 }, (_, i) => cpu.get64(State.fpr + 16 * i)),
        ymm: Array.from({ length: 16 }, (_, i) =>
          [3, 2, 1, 0].reduce((value, part) => (value << 64n) | cpu.get64(State.ymm + 32 * i + 8 * part), 0n),
        ),
        mxcsr: cpu.get32(State.mxcsr),
      },
    };
  }

  private enableVectors({ cpu }: TestMachine, { mm, ymm, mxcsr }: VectorRegisters): void {
    cpu.set64(State.cr4, cpu.get64(State.cr4) | BigInt(Cr4.OSFXSR | Cr4.OSXMMEXCPT | Cr4.OSXSAVE));
    cpu.set64(State.xcr0, 7n);
    cpu.set32(State.mxcsr, mxcsr);
    mm.forEach((value, i) => cpu.set64(State.fpr + 16 * i, value));
    ymm.forEach((value, i) => {
      for (let part = 0; part < 4; part++) {
        cpu.set64(State.ymm + 32 * i + 8 * part, BigInt.asUintN(64, value >> BigInt(64 * part)));
      }
    });
    cpu.modeChanged();
  }
}
