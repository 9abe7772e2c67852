/**
 * What any engine can do: the embedded VMM, a GDB stub, /dev/kvm, a memory snapshot. Everything in the adapter but the
 * engines themselves (symbols, stacks, disassembly, variables, introspection) works through this interface alone.
 *
 * Units: addresses and register values are unsigned bigints; lengths, counts and instruction counts (icount) are numbers.
 */

import type { Screen } from '../emulator-core/devices/screen';
import type { HypercallInfo } from '../emulator-core/guest/hypercallInfo';
import type { PlatformZlib } from '../emulator-core/platformZlib';

export type { HypercallInfo, Screen };

/** `virtual`: through the vCPU's current page tables (linear address). `physical`: guest-physical. `host`: the VMM's own. */
export type AddressSpace = 'virtual' | 'physical' | 'host';

export interface TargetCapabilities {
  /** VM exits are seen: exit breakpoints, exit ring, VMCS/VMCB. */
  exits: boolean;
  /** Second-level paging structures can be read. */
  ept: boolean;
  /** runBackward, stepBack, goto icount. */
  timeTravel: boolean;
  writeRegisters: boolean;
  writeMemory: boolean;
  dataBreakpoints: boolean;
}

export type VcpuState = 'running' | 'stopped' | 'halted' | 'wait-for-sipi' | 'shutdown';

export interface VcpuInfo {
  index: number;
  name: string; // 'vCPU 0'
  state: VcpuState;
}

/** A scope's registers come grouped as the scopes of interface.md name them. */
export type RegisterGroup = 'Registers' | 'Segments' | 'Control' | 'MSRs' | 'FPU & SIMD';

export interface RegisterInfo {
  name: string; // 'rax', 'cs.base', 'cr3', 'IA32_EFER'
  group: RegisterGroup;
  /** Width in bits: 1..512; values print as 0x-prefixed hex of this full width. */
  width: number;
  writable: boolean;
  /** Decodes a value for people: 'PE ET PG', 'CF ZF', 'DPL=0 L P code' ... */
  describe?: (value: bigint) => string;
  /** The value of text that is no whole number ('1.5' of an x87 register); undefined: it means nothing. */
  parse?: (text: string) => bigint | undefined;
}

/** A decoded field, for trees: `{ name: 'Exit reason', value: '0xa', text: 'CPUID' }`, with children where it has parts. */
export interface DecodedField {
  name: string;
  /** 0x-prefixed hex of the field's full width, or plain text. */
  value: string;
  /** What it means, in the manual's words. */
  text?: string;
  children?: DecodedField[];
}

/** One VM exit, as the architecture reports it. SDM Vol. 3C, "VM Exits"; Appendix C "VMX Basic Exit Reasons". */
export interface ExitRecord {
  /** Running number of this exit since the machine was made. */
  seq: number;
  icount: number;
  cpu: number;
  /** Manual name in capitals: 'CPUID', 'EPT_VIOLATION'. */
  name: string;
  reason: number;
  rip: bigint;
  qualification: bigint;
  instructionLength: number;
  guestLinear: bigint;
  guestPhysical: bigint;
  /** One line: 'out 0x3f8 <- 0x41 (8 bits)', 'CPUID leaf 0x0 subleaf 0x0', 'write of gpa 0xfee000b0'. */
  summary: string;
}

/** How an engine has executed instructions since it was made, also those that it repeated for going back. */
export interface EngineCounters {
  /** Instructions retired by compiled code. */
  compiled: number;
  /** Regions compiled, and the instructions in them. */
  regions: number;
  regionInstructions: number;
  /** Size of the present regions. */
  regionBytes: number;
  /** Regions given up to make room, and because their code changed. */
  evictedRegions: number;
  droppedRegions: number;
  compileMilliseconds: number;
  /** The longest piece of it, which guest and debugger waited for at once. */
  longestCompileMilliseconds: number;
  /** Memory accesses that the soft TLB did not serve. */
  tlbMisses: number;
}

export interface ExitCounter {
  name: string;
  reason: number;
  count: number;
}

/** One entry of a paging structure, guest's or second-level. */
export interface PagingEntry {
  /** 'PML4E' | 'PDPTE' | 'PDE' | 'PTE' and for EPT 'EPT PML4E' ... */
  level: string;
  index: number;
  /** Lowest input address (linear or guest-physical) that this entry maps. */
  address: bigint;
  /** Bytes of input address space that one entry covers. */
  span: bigint;
  /** Physical address of the entry itself. */
  entryAddress: bigint;
  raw: bigint;
  present: boolean;
  /** Maps a page (4K, 2M, 1G) and does not refer to a table. */
  leaf: boolean;
  /** Physical address of the page or the next table. */
  target: bigint;
  /** 'rwx', 'r--' ; for guests 'rw-' with user/supervisor in flags. */
  permissions: string;
  /** 'WB', 'UC' ... where the entry decides it. */
  memoryType?: string;
  accessed: boolean;
  dirty: boolean;
  /** Other set flags by their manual names: 'U', 'G', 'PS', 'PWT', 'PCD', 'NX', 'IPAT' ... */
  flags: string[];
}

/** A walk from a guest-virtual address (or a guest-physical one) to where it ends. */
export interface PagingWalk {
  input: bigint;
  entries: PagingEntry[];
  /** Resulting address, or undefined when the walk ends in a fault. */
  result?: bigint;
  /** Why not: 'PTE not present', 'paging is off' ... */
  fault?: string;
}

/** Guest exceptions by name as they appear as exception filters: '#PF', '#GP' ... */
export interface GuestExceptionRecord {
  vector: number;
  name: string;
  errorCode?: number;
  /** Faulting linear address (#PF). */
  address?: bigint;
  rip: bigint;
}

export type StopReason =
  | 'entry'
  | 'step'
  | 'breakpoint' // an execution breakpoint; `breakpoints` names the ids
  | 'data breakpoint'
  | 'exit' // a VM exit that an exit breakpoint wanted
  | 'exception' // a guest exception that an exception breakpoint wanted
  | 'pause'
  | 'goto' // arrived by time travel
  | 'history start'; // going back reached the first recorded instruction

export interface StopEvent {
  reason: StopReason;
  cpu: number;
  /** For people: 'CPUID exit at 0x100200', 'Start of recorded history'. */
  text?: string;
  /** Ids of the breakpoints hit. */
  breakpoints?: readonly number[];
  exit?: ExitRecord;
  exception?: GuestExceptionRecord;
  /** What a data breakpoint saw. */
  access?: { kind: 'read' | 'write'; space: AddressSpace; address: bigint; length: number };
}

export type EndReason =
  | { kind: 'power off' }
  | { kind: 'debug exit'; value: number } // port 0xf4
  | { kind: 'triple fault'; cpu: number; rip: bigint; text: string }
  | { kind: 'error'; text: string }; // the engine cannot go on: says why

/** What a breakpoint's `hit` may look at: synchronous, only valid during the call. */
export interface HitContext {
  cpu: number;
  icount: number;
  /** True while history is being replayed (going back): evaluate, but neither count nor log. */
  replaying: boolean;
  register(name: string): bigint;
  /** Reads little-endian; undefined where memory is not mapped. size in bytes: 1, 2, 4, 8. */
  memory(space: AddressSpace, address: bigint, size: number): bigint | undefined;
  /** Named fields of the exit or exception: port, size, write, string, leaf, subleaf, msr, value, gpa, gla, cr, vector, error ... */
  field(name: string): bigint | undefined;
}

/** Every breakpoint decides itself whether a hit stops (conditions, hit counts and log points live in the caller). */
export interface BreakpointBase {
  id: number;
  /** True to stop. Absent: always stop. */
  hit?: (context: HitContext) => boolean;
}
export interface ExecutionBreakpoint extends BreakpointBase {
  /** Linear address (also before anything is mapped there: it holds until reached). */
  address: bigint;
  /** Only this vCPU; absent: all. */
  cpu?: number;
}
export interface DataBreakpoint extends BreakpointBase {
  space: 'virtual' | 'physical';
  address: bigint;
  length: number;
  access: 'read' | 'write' | 'readWrite';
}
export interface ExitBreakpoint extends BreakpointBase {
  /** 'CPUID', 'EPT_VIOLATION' ... one of exitNames(). */
  exit: string;
}
export interface ExceptionBreakpoint extends BreakpointBase {
  /** '#PF' ... one of exceptionNames(). */
  exception: string;
}

export interface BreakpointSet {
  execution: ExecutionBreakpoint[];
  data: DataBreakpoint[];
  exits: ExitBreakpoint[];
  exceptions: ExceptionBreakpoint[];
}

/** How far to run. Every form also ends at a breakpoint, an end of the guest, or pause(). */
export type RunRequest =
  | { kind: 'continue'; cpu?: number; singleThread?: boolean }
  /** One instruction of `cpu` (a whole REP, a whole interrupt-free HLT). `over`: a call runs to its return. */
  | { kind: 'stepInstruction'; cpu: number; over: boolean; singleThread?: boolean }
  /** Until rip of `cpu` has left all [low, high) ranges in this frame or left the frame to its caller. `over`: calls run to their return. */
  | { kind: 'stepRange'; cpu: number; ranges: [low: bigint, high: bigint][]; over: boolean; singleThread?: boolean }
  /** Until `cpu` executes `address` with rsp above `stackPointer` (step out, run to return). */
  | { kind: 'runTo'; cpu: number; address: bigint; stackPointer?: bigint; singleThread?: boolean }
  /** Backwards: to the last instruction before now at which a breakpoint would have stopped, or the start of history. */
  | { kind: 'reverseContinue' }
  /** Backwards by `count` retired instructions. */
  | { kind: 'stepBackInstructions'; count: number }
  /**
   * Backwards until rip of `cpu` has left all ranges, going back; calls are passed over. Ends at the last instruction that was executed
   * before the ranges were entered (icount one less than at their first instruction).
  /**
   * Backwards until rip of `cpu` has left all ranges; what was called is passed over. `toStart`: then forward by the one
   * instruction that enters them again, to where this run through the ranges began.
   */
  | { kind: 'stepBackRange'; cpu: number; ranges: [low: bigint, high: bigint][]; toStart?: boolean }
  /** Time travel, either way. */
  | { kind: 'gotoIcount'; icount: number };

export interface TargetEvents {
  stopped(event: StopEvent): void;
  /** Sent when a run starts, also one the client did not ask for. */
  continued(): void;
  ended(reason: EndReason): void;
  /** Bytes of the serial console. The guest is held until the promise resolves: whoever shows them has not taken those before. */
  console(data: Uint8Array): Promise<void> | undefined;
  /** Something the user should know: 'unimplemented instruction ...'. Never repeated for the same address. */
  note(text: string): void;
  /** New exits since the last call, at most ten times a second while running, and once at each stop. */
  exitsChanged(): void;
}

/** A snapshot's file, read: its bytes in order, in pieces. */
export interface SnapshotContents {
  /** As messages give it. */
  name: string;
  pieces: readonly Uint8Array[];
  zlib?: PlatformZlib;
}

/** Work that takes a while. */
export interface SnapshotWork {
  /** 0 to 1. */
  progress?(done: number): void;
  /** Gives it up: the work rejects, nothing has changed. */
  signal?: AbortSignal;
}

export interface Target {
  readonly capabilities: TargetCapabilities;
  setEvents(events: TargetEvents): void;

  vcpus(): VcpuInfo[];
  /** Retired instructions so far, over all vCPUs. */
  icount(): number;
  /** Instructions that retired before the guest reset itself, of all times that it has, where that counts anew; absent: it does not. */
  retiredBefore?(): number;
  /** The vCPU that retired the newest instruction; absent: the engine does not know. */
  lastVcpu?(): number;
  /** Width of the code at rip of `cpu`: decides how to disassemble and how wide pointers print. */
  bitness(cpu: number): 16 | 32 | 64;

  /** Starts running; returns at once. The end comes as events.stopped or events.ended. Error when it is running already. */
  run(request: RunRequest): void;
  running(): boolean;
  /** Asks to stop; events.stopped follows (reason pause) within 50 ms. */
  pause(cpu?: number): void;
  /** Power cycle: everything as after launch; stops at entry if `stopOnEntry`. */
  restart(): Promise<void>;
  dispose(): void;

  setBreakpoints(set: BreakpointSet): void;
  exitNames(): { name: string; description: string }[];
  exceptionNames(): { name: string; description: string }[];

  /** Names with a fixed value for expressions: MSR numbers by their manual names (IA32_LSTAR ...). */
  constants?(): ReadonlyMap<string, bigint>;

  registerInfo(): readonly RegisterInfo[];
  readRegister(cpu: number, name: string): Promise<bigint>;
  /** Error with a message for the user when the value is not allowed (reserved bits, non-canonical address ...). */
  writeRegister(cpu: number, name: string, value: bigint): Promise<void>;

  /** Bytes up to the first unreadable one: may be shorter than asked, empty when nothing is mapped. */
  readMemory(space: AddressSpace, cpu: number, address: bigint, length: number): Promise<Uint8Array>;
  /** Number of bytes written before the first unmapped one. */
  writeMemory(space: AddressSpace, cpu: number, address: bigint, data: Uint8Array): Promise<number>;

  /** The exit that stopped the machine or, if another reason did, the newest one of this vCPU. */
  lastExit(cpu: number): ExitRecord | undefined;
  /** All architectural fields of an exit, decoded. */
  describeExit(exit: ExitRecord): DecodedField[];
  /** A named field of an exit, as HitContext.field gives it: port, size, write, msr, leaf ...; undefined when it has none. */
  exitField?(exit: ExitRecord, name: string): bigint | undefined;
  /** Newest first; at most `count`. `before`: only exits with a smaller seq. */
  exits(count: number, before?: number): ExitRecord[];
  /**
   * From now on `take` is called between instructions, while the guest runs, before exits leave those that exits() gives which were not
   * there at the last call. Absent: whoever wants every exit has to stop the guest often.
   */
  beforeExitsAreLost?(take: () => void): void;
  exitCounters(): ExitCounter[];
  /** How its instructions were executed; absent: the engine does not know. */
  engineCounters?(): EngineCounters;
  /** VMCS fields by group ('Guest state', 'Host state', 'Control', 'Exit information'), decoded. Empty without capability. */
  vmcs(cpu: number): DecodedField[];

  /** One table of the second-level structure, present entries only; `table` is a table's physical address, absent: the root. */
  ept(cpu: number, table?: { address: bigint; level: number; base: bigint }): PagingEntry[];
  eptWalk(cpu: number, gpa: bigint): PagingWalk;
  pageTables(cpu: number, table?: { address: bigint; level: number; base: bigint }): PagingEntry[];
  pageWalk(cpu: number, gva: bigint): PagingWalk;
  /** Devices and what they are doing, decoded, for `info devices`. */
  devices(): DecodedField[];

  /** What the VMM offers its guest beyond a PC ('KVM'), as the guest has set it up, decoded; undefined: a plain PC. */
  guestInterface?(cpu: number): { name: string; fields(): DecodedField[] } | undefined;
  /**
   * Takes a page of guest RAM away until the guest touches it, as a host that swaps does.
   * Error with a message where that is not possible.
   */
  swapOut?(gpa: bigint): void;
  /** Its hypercalls: VMCALL exits whose field `nr` is the number. */
  hypercalls?(): HypercallInfo[];

  /**
   * Writes a snapshot of the stopped machine; `write` gets the file's bytes in order. Until it has resolved nothing runs, and nothing can be
   * written to the machine. Error when it runs or has ended.
   */
  save?(write: (data: Uint8Array) => Promise<void>, work?: SnapshotWork): Promise<void>;
  /**
   * Takes up a snapshot while stopped; its remarks for the user. All of the file is checked before anything changes: Error when it is
   * damaged or of another machine, with the attribute of launch.json that differs. History begins anew, breakpoints stay.
   */
  restore?(file: SnapshotContents, work?: SnapshotWork): Promise<string[]>;

  /** Presses the ACPI power button; false: the guest has not enabled its event. Absent: there is none. */
  powerButton?(): boolean;
  /** Bytes typed on the console; false when the machine has none, or has so many waiting that it takes no more. */
  consoleInput(data: Uint8Array): boolean;
  /** The console's size in characters, 1 to 65535 each; false when the machine has no console that can tell its guest. */
  consoleSize?(cols: number, rows: number): boolean;

  /** What the display shows now; absent when the machine has none. */
  screen?(): Screen;
  /** A key pressed or released, by its place as W3C's KeyboardEvent.code names it; false when the keyboard has no such key. */
  key?(code: string, down: boolean): boolean;
  /**
   * The mouse moves: counts to the right and down, notches of the wheel towards the user, and the buttons that are down now (bit 0 left,
   * 1 right, 2 middle, 3 back, 4 forward). False when the guest does not listen to a mouse.
   */
  pointer?(dx: number, dy: number, wheel: number, buttons: number): boolean;
}
