/**
 * Instructions of extensions that may exit to the VMM: MONITOR, MWAIT, RDRAND, RDSEED.
 * SDM Vol. 3C, "Instructions That Cause VM Exits".
 */
import type { Assist } from '../cpu/assists/operands';
import { implicitLinear } from '../cpu/assists/cache';
import type { CpuContext } from '../cpu/cpuContext';
import type { Monitors } from '../cpu/monitor';
import { Flag, GuestFault, Vector, type Vcpu } from '../cpu/vcpu';
import { CODES } from '../x86/codes';
import { Primary, Secondary } from './vmx/controls';
import { ExitReason } from './vmx/exitReasons';
import type { Vmm } from './vmm';

export interface ExtensionHandlers {
  vmm: Vmm;
  monitors: Monitors;
  halt(cpu: Vcpu): void;
}

const RCX = 1;
const ARITHMETIC = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.OF;

/** One step of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators"). */
function mix(state: bigint): bigint {
  let z = BigInt.asUintN(64, state * 0x9e3779b97f4a7c15n);
  z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return z ^ (z >> 31n);
}

/** Distinct streams for RDRAND and RDSEED. */
const SEEDS = { Rdrand: 0x52696e6773696465n, Rdseed: 0x65646973676e6952n } as const;

export function extensionAssists(h: ExtensionHandlers): Record<string, Assist> {
  const { vmm, monitors } = h;
  const exit = (c: CpuContext, reason: number, qualification = 0): void =>
    vmm.exit(c.cpu, reason, c.rip, { qualification, instructionLength: c.length });

  /** MONITOR and MWAIT are for CPL 0; ECX holds extensions, of which MWAIT has one. */
  function checkMonitor(c: CpuContext, extensions: bigint): bigint {
    if (c.cpu.cpl !== 0) throw new GuestFault(Vector.UD);
    const ecx = c.cpu.gpr(RCX) & (c.cpu.bitness === 64 ? 0xffffffffffffffffn : 0xffffffffn);
    if (ecx & ~extensions) throw new GuestFault(Vector.GP, 0);
    return ecx;
  }

  function monitor(c: CpuContext): void {
    checkMonitor(c, 0n);
    if (vmm.primary & Primary.monitorExiting) exit(c, ExitReason.monitor);
    monitors.arm(c.cpu.index, c.probeRead(implicitLinear(c, 1, false)));
  }

  /** Without a monitor that is still armed MWAIT does nothing. */
  function monitorWait(c: CpuContext): void {
    const extensions = checkMonitor(c, 1n);
    const armed = monitors.armed(c.cpu.index);
    if (vmm.primary & Primary.mwaitExiting) exit(c, ExitReason.mwait, armed ? 1 : 0);
    if (!armed) return;
    monitors.wait(c.cpu.index, extensions !== 0n);
    h.halt(c.cpu);
  }

  /** The generator's state is the instruction count, so a run that is repeated draws the same numbers. */
  function random(c: CpuContext): void {
    const { cpu } = c;
    const mnemonic = CODES[c.code]!.row.mnemonic as keyof typeof SEEDS;
    const seed = mnemonic === 'Rdseed';
    if (vmm.secondary & (seed ? Secondary.rdseedExiting : Secondary.rdrandExiting)) {
      exit(c, seed ? ExitReason.rdseed : ExitReason.rdrand);
    }
    const drawn = mix(SEEDS[mnemonic] ^ mix(BigInt(c.icount)));
    cpu.setGprSized(c.registerOffset(0) >> 3, drawn, c.operandBytes);
    cpu.rflags = (cpu.rflags & ~ARITHMETIC) | Flag.CF;
  }

  return { monitor, monitorWait, random };
}
