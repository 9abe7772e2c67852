/** Instruction and data breakpoints, the debugger's and the guest's own: who is told, and whether the vCPU stops. */
import type { Core } from '../cpu/core';
import type { CodeBreakpoints } from '../cpu/debugRegisters';
import { SegmentIndex } from '../cpu/layout';
import { Vector, type Vcpu } from '../cpu/vcpu';
import type { MachineHooks } from './machineTypes';

export interface BreakpointHost {
  hooks(): MachineHooks;
  /** Stops the machine when `stop` holds; returns `stop`. */
  stopIf(cpu: Vcpu, stop: boolean): boolean;
}

/** Linear address of the next instruction. */
export function codeLinear(cpu: Vcpu): bigint {
  return cpu.bitness === 64 ? cpu.rip : (cpu.rip + cpu.segmentBase(SegmentIndex.cs)) & 0xffffffffn;
}

export class Breakpoints {
  /** Where the debugger resumes from: breakpoints there are passed over once. */
  private pass?: { icount: number; linear: bigint[] };

  constructor(
    private readonly core: Core,
    private readonly host: BreakpointHost,
  ) {}

  /** The debugger's breakpoints at the present instructions do not stop again. */
  passOver(vcpus: readonly Vcpu[]): void {
    this.pass = { icount: this.core.retired, linear: vcpus.map((cpu) => codeLinear(cpu)) };
  }
  passOverNone(): void {
    this.pass = undefined;
  }

  /** CoreHost.watchHit. */
  data(cpu: Vcpu, linear: bigint, gpa: number, size: number, write: boolean): boolean {
    const hits = cpu.debug.data(linear, size, write);
    cpu.debugHits |= hits;
    return this.host.stopIf(cpu, this.host.hooks().watch(cpu, linear, gpa, size, write)) || hits !== 0;
  }

  /** CoreHost.breakpointHit. */
  instruction(cpu: Vcpu, linear: bigint): boolean {
    const { pass } = this;
    const passed = pass && pass.icount === this.core.icount && pass.linear[cpu.index] === linear;
    if (!passed && this.host.stopIf(cpu, this.host.hooks().breakpoint(cpu, linear))) return true;
    if (!cpu.debug.breaksInstructions) return false;
    if (cpu.resumeAt === this.core.icount) return false;
    // Behind MOV SS and POP SS. SDM Vol. 3B, "Instruction-Breakpoint Exception Condition"; the APM makes no such exception.
    if (cpu.vendor === 'intel' && cpu.shadowsTraps && cpu.shadowUntil > this.core.icount) return false;
    const debug = cpu.debug.instruction(linear);
    if (debug) cpu.pending = { vector: Vector.DB, debug };
    return debug !== 0;
  }

  /** CoreHost.breakpointsOn. */
  on(cpu: Vcpu, linearPage: number): CodeBreakpoints | undefined {
    const debuggers = this.host.hooks().breakpointsOn(linearPage);
    const guests = cpu.debug.codeOn(linearPage);
    if (!debuggers || !guests) return debuggers ?? guests;
    return { key: `${debuggers.key} ${guests.key}`, offsets: new Set([...debuggers.offsets, ...guests.offsets]) };
  }
}
