/** A test machine in mode kvm, whose vCPUs do what a guest does: MSRs, hypercalls, interrupts. */
import { State } from '../../../../emulator-core/cpu/layout';
import type { MachineHooks, MachineOptions } from '../../../../emulator-core/machine';
import { TestMachine } from '../../testMachine';

export const CODE = 0x20000;
/** Memory for structures that guest and host share. */
export const AREA = 0x30000;
/** 2026-01-01T00:00:00.250Z in milliseconds. */
export const START_TIME = Date.UTC(2026, 0, 1) + 250;

export class KvmMachine extends TestMachine {
  constructor(options: Partial<MachineOptions> = {}, hooks: Partial<MachineHooks> = {}) {
    super({ guest: 'kvm', startTime: START_TIME, ...options }, hooks);
    this.enter('64');
  }

  /** WRMSR by vCPU 0; false: it was #GP. */
  writeMsr(index: number, value: bigint): boolean {
    this.run(CODE, '0f30', { rcx: index, rax: value & 0xffffffffn, rdx: value >> 32n, rsp: 0xa000 });
    const done = this.cpu.rip === BigInt(CODE + 2);
    this.enter('64');
    return done;
  }
  /** RDMSR by vCPU 0; undefined: it was #GP. */
  readMsr(index: number): bigint | undefined {
    this.run(CODE, '0f32', { rcx: index, rsp: 0xa000 });
    const done = this.cpu.rip === BigInt(CODE + 2);
    this.enter('64');
    return done ? (this.get('rdx') << 32n) | this.get('rax') : undefined;
  }
  /** VMCALL by vCPU 0 in its present mode; its result as an unsigned number of 64 bits. */
  hypercall(
    number: bigint | number,
    rbx: bigint | number = 0,
    rcx: bigint | number = 0,
    rdx: bigint | number = 0,
    rsi: bigint | number = 0,
  ): bigint {
    // prettier-ignore
    this.run(CODE, '0f01c1', { rax: number, rbx, rcx, rdx, rsi });
    return this.get('rax');
  }
}

export const signed = (value: bigint): bigint => BigInt.asIntN(64, value);

/** Two vCPUs that accept interrupts; vCPU 1 loops at CODE + 0x100. */
export function pair(): KvmMachine {
  const t = new KvmMachine({ cpus: 2 });
  const other = t.machine.vcpus[1];
  other.memory.u8.copyWithin(other.base, t.cpu.base, t.cpu.base + State.scratch);
  t.write(CODE + 0x100, [0xeb, 0xfe]);
  other.rip = BigInt(CODE + 0x100);
  other.activity = 'active';
  other.modeChanged();
  for (const index of [0, 1]) t.machine.platform.apic(index).writeRegister(0xf0, 0x1ff);
  return t;
}
