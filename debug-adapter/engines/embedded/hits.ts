/** Breakpoints of every kind on the embedded machine: who is hit, and what the hit looks like to conditions. */
import type { Machine } from '../../../emulator-core/machine';
import { linearPage, PageState } from '../../../emulator-core/cpu/memoryPath';
import type { RegisterRow } from '../../../emulator-core/cpu/registers';
import type { Vcpu } from '../../../emulator-core/cpu/vcpu';
import type { GuestInterface } from '../../../emulator-core/guest/guestInterface';
import { EXCEPTION_NAMES } from '../../../emulator-core/virt/vmx/controls';
import { exitField, exitReason, summary } from '../../../emulator-core/virt/vmx/exitReasons';
import type { VmExit } from '../../../emulator-core/virt/exit';
import { debugTranslate } from './guestMemory';
import type {
  AddressSpace,
  BreakpointSet,
  DataBreakpoint,
  ExecutionBreakpoint,
  ExitRecord,
  GuestExceptionRecord,
  HitContext,
  StopEvent,
} from '../../target';

/** A breakpoint of the engine's own: step over, step out, run to. */
export interface Temporary {
  address: bigint;
  cpu: number;
  /** Only with rsp above this: the frame that waited for it, not a deeper one. */
  above?: bigint;
}

export type HitMode =
  | 'live'
  /** Replaying to a known place: nothing stops. */
  | 'mute'
  /** Replaying to find the last hit: evaluated, remembered, not stopped at. */
  | 'search';

/** What breakpoints of all kinds have that says whether one stops. */
interface Decided {
  id: number;
  cpu?: number;
  hit?: (context: HitContext) => boolean;
}

const NONE: readonly number[] = [];

const EMPTY: BreakpointSet = { execution: [], data: [], exits: [], exceptions: [] };

/** @param guest what the guest is offered: it knows its hypercalls by name */
export function exitRecord(exit: VmExit, guest?: Pick<GuestInterface, 'summary'>): ExitRecord {
  return {
    seq: exit.seq,
    icount: exit.icount,
    cpu: exit.cpu,
    name: exitReason(exit.reason).name,
    reason: exit.reason & 0xffff,
    rip: exit.rip,
    qualification: exit.qualification,
    instructionLength: exit.instructionLength,
    guestLinear: exit.guestLinear,
    guestPhysical: exit.guestPhysical,
    summary: guest?.summary(exit) ?? summary(exit),
  };
}

const VECTORS = new Map(Object.entries(EXCEPTION_NAMES).map(([vector, name]) => [name, Number(vector)]));

export class Hits {
  mode: HitMode = 'live';
  /** What stopped the machine, for the event. */
  stop?: StopEvent;
  /** The newest hit of a search that would have stopped before `searchEnd`, and at which instruction count. */
  found?: { icount: number; stop: StopEvent };
  searchEnd = 0;
  temporary?: Temporary;
  temporaryHit = false;

  private set: BreakpointSet = EMPTY;
  private byAddress = new Map<bigint, ExecutionBreakpoint[]>();
  private pages = new Map<number, { key: string; offsets: Set<number> }>();
  private exitsByReason = new Map<string, BreakpointSet['exits']>();
  private exceptionsByVector = new Map<number, BreakpointSet['exceptions']>();
  private watchedPages: number[] = [];
  private readonly registers: Map<string, RegisterRow>;
  private readonly context: Context;

  constructor(
    private readonly machine: Machine,
    rows: readonly RegisterRow[],
  ) {
    this.registers = new Map(rows.map((row) => [row.name, row]));
    this.context = new Context(machine, this.registers);
  }

  use(set: BreakpointSet): void {
    this.set = set;
    this.exitsByReason = group(set.exits, (b) => b.exit);
    this.exceptionsByVector = group(
      set.exceptions.filter((b) => VECTORS.has(b.exception)),
      (b) => VECTORS.get(b.exception)!,
    );
    this.machine.vmm.configure(new Set(this.exitsByReason.keys()), this.exceptionsByVector.keys());
    const wanted = this.exitsByReason.size > 0 || this.exceptionsByVector.size > 0;
    this.machine.hooks.exit = wanted ? (cpu, exit) => this.exit(cpu, exit) : undefined;
    this.watch(set.data);
    this.rebuild();
  }

  setTemporary(temporary: Temporary | undefined): void {
    const before = this.temporary?.address;
    this.temporary = temporary;
    this.temporaryHit = false;
    if (before !== temporary?.address) this.rebuild();
  }

  private rebuild(): void {
    this.byAddress = group(this.set.execution, (b) => b.address);
    this.lastAddress = -1n;
    this.pages = new Map();
    const addresses = [...this.byAddress.keys()];
    if (this.temporary) addresses.push(this.temporary.address);
    for (const address of addresses) {
      const page = linearPage(address);
      const entry = this.pages.get(page) ?? { key: '', offsets: new Set<number>() };
      entry.offsets.add(Number(address & 0xfffn));
      this.pages.set(page, entry);
    }
    for (const [page, entry] of this.pages) {
      entry.key = `${page.toString(16)}:${[...entry.offsets].sort((a, b) => a - b).join(',')}`;
    }
    this.machine.core.invalidateJumps();
  }

  private watch(data: readonly DataBreakpoint[]): void {
    const { core } = this.machine;
    const { memoryPath } = core;
    for (const page of this.watchedPages) {
      memoryPath.setPageState(page, PageState.watchRead, false);
      memoryPath.setPageState(page, PageState.watchWrite, false);
    }
    this.watchedPages = [];
    memoryPath.watchedLinear.clear();
    for (const b of data) {
      const first = b.address >> 12n;
      const last = (b.address + BigInt(b.length - 1)) >> 12n;
      for (let page = first; page <= last; page++) {
        if (b.space === 'virtual') memoryPath.watchedLinear.add(linearPage(page << 12n));
        else {
          const number = Number(page);
          if (b.access !== 'write') memoryPath.setPageState(number, PageState.watchRead, true);
          memoryPath.setPageState(number, PageState.watchWrite, true);
          this.watchedPages.push(number);
        }
      }
    }
    core.flushAllTranslations();
  }

  // ---- hooks -----------------------------------------------------------------------------------------------------

  breakpointsOn(page: number): { key: string; offsets: ReadonlySet<number> } | undefined {
    return this.pages.size === 0 ? undefined : this.pages.get(page);
  }

  /** Those at an address: mostly the last one again, and maps take their time to find a BigInt. */
  private at(linear: bigint): readonly ExecutionBreakpoint[] {
    if (linear !== this.lastAddress) {
      this.lastAddress = linear;
      this.lastList = this.byAddress.get(linear) ?? [];
    }
    return this.lastList;
  }
  private lastAddress = -1n;
  private lastList: readonly ExecutionBreakpoint[] = [];

  breakpoint(cpu: Vcpu, linear: bigint): boolean {
    if (this.mode === 'mute') return false;
    const t = this.temporary;
    let stop = false;
    if (t && t.address === linear && t.cpu === cpu.index && (t.above === undefined || cpu.gpr(4) > t.above)) {
      this.temporaryHit = true;
      stop = true;
    }
    const ids = this.passing(this.at(linear), cpu);
    if (ids.length === 0) return stop;
    return this.hit({ reason: 'breakpoint', cpu: cpu.index, breakpoints: ids });
  }

  private exit(cpu: Vcpu, exit: VmExit): boolean {
    if (this.mode === 'mute') return false;
    const name = exitReason(exit.reason).name;
    const list = this.exitsByReason.get(name);
    this.context.exit = exit;
    const ids = list ? this.passing(list, cpu) : [];
    let exception: GuestExceptionRecord | undefined;
    let vectorIds = NONE;
    if (name === 'EXCEPTION_OR_NMI') {
      const vector = exit.interruptionInfo & 0xff;
      exception = {
        vector,
        name: EXCEPTION_NAMES[vector] ?? `vector ${vector}`,
        errorCode: exit.interruptionInfo & 0x800 ? exit.interruptionError : undefined,
        address: vector === 14 ? exit.qualification : undefined,
        rip: exit.rip,
      };
      const wanted = this.exceptionsByVector.get(vector);
      if (wanted) {
        this.context.exception = exception;
        vectorIds = this.passing(wanted, cpu);
        this.context.exception = undefined;
      }
    }
    this.context.exit = undefined;
    if (ids.length === 0 && vectorIds.length === 0) return false;
    const at = ` at 0x${exit.rip.toString(16)}`;
    const record = exitRecord(exit, this.machine.guest);
    if (vectorIds.length) {
      const error = exception!.errorCode === undefined ? '' : ` error code 0x${exception!.errorCode.toString(16)}`;
      const address = exception!.address === undefined ? '' : `, address 0x${exception!.address.toString(16)}`;
      const text = `${exception!.name}${error}${address}${at}`;
      return this.hit({ reason: 'exception', cpu: cpu.index, breakpoints: vectorIds, exception, exit: record, text });
    }
    return this.hit({ reason: 'exit', cpu: cpu.index, breakpoints: ids, exit: record, text: `${record.summary}${at}` });
  }

  watchHit(cpu: Vcpu, linear: bigint, gpa: number, size: number, write: boolean): boolean {
    if (this.mode === 'mute') return false;
    const overlapping = this.set.data.filter((b) => {
      if (b.access !== 'readWrite' && (b.access === 'write') !== write) return false;
      const at = b.space === 'virtual' ? linear : BigInt(gpa);
      return at < b.address + BigInt(b.length) && b.address < at + BigInt(size);
    });
    if (overlapping.length === 0) return false;
    const ids = this.passing(overlapping, cpu);
    if (ids.length === 0) return false;
    const kind = write ? 'write' : 'read';
    const { space } = overlapping[0];
    const address = space === 'virtual' ? linear : BigInt(gpa);
    return this.hit({
      reason: 'data breakpoint',
      cpu: cpu.index,
      breakpoints: ids,
      access: { kind, space, address, length: size },
      text: `${kind} of ${size} bytes at 0x${address.toString(16)}`,
    });
  }

  /** Ids of those for the vCPU whose condition holds: mostly of none, and then nothing is made for it. */
  private passing(list: readonly Decided[], cpu: Vcpu): readonly number[] {
    let ids: number[] | undefined;
    for (const b of list) {
      if (b.cpu !== undefined && b.cpu !== cpu.index) continue;
      if (b.hit) {
        this.context.use(cpu, this.mode !== 'live');
        if (!b.hit(this.context)) continue;
      }
      ids ??= [];
      ids.push(b.id);
    }
    return ids ?? NONE;
  }

  private hit(stop: StopEvent): boolean {
    if (this.mode === 'search') {
      // A data breakpoint stops behind its instruction.
      const icount = this.machine.core.icount + (stop.reason === 'data breakpoint' ? 1 : 0);
      if (icount < this.searchEnd) this.found = { icount, stop };
      return false;
    }
    this.stop = stop;
    return true;
  }
}

function group<T, K>(list: readonly T[], key: (item: T) => K): Map<K, T[]> {
  const map = new Map<K, T[]>();
  for (const item of list) {
    const k = key(item);
    const into = map.get(k);
    if (into) into.push(item);
    else map.set(k, [item]);
  }
  return map;
}

/** One reusable context: conditions run very often. */
class Context implements HitContext {
  cpu = 0;
  replaying = false;
  exit?: VmExit;
  exception?: GuestExceptionRecord;
  private vcpu!: Vcpu;

  constructor(
    private readonly machine: Machine,
    private readonly registers: Map<string, RegisterRow>,
  ) {}

  use(vcpu: Vcpu, replaying: boolean): void {
    this.vcpu = vcpu;
    this.cpu = vcpu.index;
    this.replaying = replaying;
  }
  get icount(): number {
    return this.machine.core.icount;
  }
  register(name: string): bigint {
    const row = this.registers.get(name);
    if (!row) throw new Error(`no register is named '${name}'`);
    // Inside a handler rip is kept as ripBase and offset.
    if (name === 'rip') return this.machine.core.instructionRip(this.vcpu);
    return row.read(this.vcpu);
  }
  memory(space: AddressSpace, address: bigint, size: number): bigint | undefined {
    const { memory } = this.machine;
    let value = 0n;
    for (let i = 0; i < size; i++) {
      const at = address + BigInt(i);
      const gpa = space === 'virtual' ? debugTranslate(this.machine, this.vcpu, at) : at;
      if (gpa === undefined) return undefined;
      const offset = Number(gpa) + (space === 'host' ? 0 : memory.ramBase);
      if (space !== 'host' && gpa >= BigInt(memory.ramSize)) return undefined;
      if (offset >= memory.u8.length) return undefined;
      value |= BigInt(memory.u8[offset]) << BigInt(8 * i);
    }
    return value;
  }
  field(name: string): bigint | undefined {
    const { exception } = this;
    if (exception) {
      if (name === 'vector') return BigInt(exception.vector);
      if (name === 'error') return exception.errorCode === undefined ? undefined : BigInt(exception.errorCode);
      if (name === 'address') return exception.address;
    }
    return this.exit && exitField(this.exit, name);
  }
}
