/** What a machine is made of and how it speaks with the debugger. */
import type { BootRequest } from '../boot/boot';
import type { CompileMode } from '../cpu/compiledCode';
import type { RegionCompiler } from '../translate/region/compileJob';
import type { CpuVendor } from '../cpu/cpuid';
import type { CodeBreakpoints } from '../cpu/debugRegisters';
import type { Vcpu } from '../cpu/vcpu';
import type { GuestInterfaceName } from '../guest/guestInterface';
import type { VirtioSlot } from '../devices/virtio/attach';
import type { Disk } from '../disk/disk';
import type { VmExit } from '../virt/exit';

export interface MachineOptions {
  /** Bytes of RAM, a multiple of 4 KiB, 1 MiB to 3 GiB. */
  memory: number;
  cpus: number;
  vendor: CpuVendor;
  features: readonly string[];
  /** Named processor model; absent: the default one. */
  model?: string;
  debugExit: boolean;
  /** Wall time at power-on, milliseconds since 1970. */
  startTime: number;
  /** What the guest is offered beyond a PC; absent: nothing. */
  guest?: GuestInterfaceName;
  /** What the disk devices in `virtio` hold: saved and restored with the machine. */
  disks?: readonly Disk[];
  /** virtio devices, in the order of their places on the bus. */
  virtio?: readonly VirtioSlot[];
  /** A virtio console beside COM1. */
  virtioConsole?: boolean;
  /** What is compiled to WebAssembly. Default: what is hot */
  compile?: CompileMode;
  /** Milliseconds, for statistics of compiling and how much of it is done at once: nothing that the guest sees depends on it. */
  now?: () => number;
  /** Bytes of WebAssembly that compiled code may have. Default: 32 MiB, with 'always' 128 */
  compiledBytes?: number;
  /** WebAssembly modules that compiled code may be in: Core's option. */
  compiledModules?: number;
  /** Makes what compiles in a thread of its own: Core's option. */
  compiler?: () => RegionCompiler;
  kernel: Omit<BootRequest, 'memory' | 'cpus'>;
}

export type MachineEnd =
  | { kind: 'power off' }
  | { kind: 'debug exit'; value: number }
  | { kind: 'triple fault'; cpu: number; rip: bigint; text: string }
  | { kind: 'error'; text: string };

/** The debugger's hooks. Each returns true to stop the machine there. All may be called while history is replayed. */
export interface MachineHooks {
  breakpoint(cpu: Vcpu, linear: bigint): boolean;
  /** Page offsets with breakpoints on a linear page (address bits 63..12); `key` changes with the set. */
  breakpointsOn(linearPage: number): CodeBreakpoints | undefined;
  /** Absent: no exit is to be stopped at, and those that happen cost less. May come and go between two calls of run(). */
  exit?(cpu: Vcpu, exit: VmExit): boolean;
  watch(cpu: Vcpu, linear: bigint, gpa: number, size: number, write: boolean): boolean;
  console(byte: number): void;
  /** A device has a message for what stands behind it outside. Answer with Machine.receive, later. Not called while history is replayed. */
  send?(device: string, message: Uint8Array): void;
  /** No answer is wanted any more to any message so far. */
  linksLost?(): void;
  note(text: string): void;
}

/**
 * Why a run returned. 'idle': every vCPU is halted and nothing is due. 'ahead': they are, and what is due next lies behind the time up to
 * which idling was allowed.
 */
export type RunResult = 'budget' | 'stopped' | 'idle' | 'ahead' | 'ended';
