/**
 * A small deterministic machine behind the Target interface: the dozen instructions that fixtures/walk.elf consists of, flat memory, a few
 * exits, data breakpoints and a complete history. Nothing of emulator-core but its decoder library is used.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Decoder, DecoderOptions, Instruction, MemorySize, Mnemonic, OpKind, Register } from 'iced-x86';
import type { Engine } from '../../debug-adapter/engine';
import type { EmbeddedLaunch } from '../../debug-adapter/engines/launch';
import type {
  AddressSpace,
  BreakpointSet,
  DecodedField,
  ExitCounter,
  ExitRecord,
  HitContext,
  PagingEntry,
  PagingWalk,
  RegisterInfo,
  RunRequest,
  StopEvent,
  Target,
  TargetCapabilities,
  TargetEvents,
  VcpuInfo,
} from '../../debug-adapter/target';

const GENERAL = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rbp',
  'rsp',
  ...[8, 9, 10, 11, 12, 13, 14, 15].map((i) => `r${i}`),
];
const LOW = 0xff000n;
const HIGH = 0x110000n;
const STACK = 0x10f000n;
export const CONTROL_EXITS = ['CPUID', 'IO_INSTRUCTION', 'HLT', 'TRIPLE_FAULT'];

const REGISTERS: RegisterInfo[] = [
  ...[...GENERAL, 'rip'].map((name): RegisterInfo => ({ name, group: 'Registers', width: 64, writable: true })),
  {
    name: 'rflags',
    group: 'Registers',
    width: 64,
    writable: true,
    describe: (value) => [value & 0x40n ? 'ZF' : '', value & 0x80n ? 'SF' : ''].filter(Boolean).join(' '),
  },
  { name: 'cs', group: 'Segments', width: 16, writable: false },
  { name: 'cs.base', group: 'Segments', width: 64, writable: true },
  { name: 'cr0', group: 'Control', width: 64, writable: true, describe: () => 'PE PG' },
  { name: 'IA32_EFER', group: 'MSRs', width: 64, writable: true },
  { name: 'xmm0', group: 'FPU & SIMD', width: 128, writable: true },
];

interface Undo {
  registers: Map<string, bigint>;
  memory: { address: number; old: Uint8Array }[];
  exits: number;
}

export interface FakeOptions {
  /** Instructions of a slice; between slices, messages are answered. */
  slice?: number;
}

export class FakeTarget implements Target {
  readonly capabilities: TargetCapabilities = {
    exits: true,
    ept: true,
    timeTravel: true,
    writeRegisters: true,
    writeMemory: true,
    dataBreakpoints: true,
  };
  private events: TargetEvents | undefined;
  private memory = new Uint8Array(Number(HIGH - LOW));
  private registers = new Map<string, bigint>();
  private set: BreakpointSet = { execution: [], data: [], exits: [], exceptions: [] };
  private history: Undo[] = [];
  private undo: Undo | undefined;
  private log: ExitRecord[] = [];
  private isRunning = false;
  private pausing = false;
  private ended = false;
  private touched: { kind: 'read' | 'write'; address: bigint; length: number }[] = [];
  typed = '';
  disposed = false;

  constructor(
    private readonly elf: Uint8Array,
    private readonly options: FakeOptions = {},
  ) {
    this.reset();
  }

  private reset(): void {
    this.memory.fill(0);
    const view = new DataView(this.elf.buffer, this.elf.byteOffset, this.elf.byteLength);
    const headers = Number(view.getBigUint64(32, true));
    for (let i = 0; i < view.getUint16(56, true); i++) {
      const at = headers + i * 56;
      if (view.getUint32(at, true) !== 1) continue;
      const [offset, address, size] = [8, 16, 32].map((o) => view.getBigUint64(at + o, true));
      this.memory.set(this.elf.subarray(Number(offset), Number(offset + size)), Number(address - LOW));
    }
    for (const { name } of REGISTERS) this.registers.set(name, 0n);
    this.registers.set('rip', view.getBigUint64(24, true));
    this.registers.set('rsp', STACK);
    this.registers.set('cs', 8n);
    this.history = [];
    this.log = [];
    this.ended = false;
  }

  setEvents(events: TargetEvents): void {
    this.events = events;
  }

  vcpus(): VcpuInfo[] {
    return [{ index: 0, name: 'vCPU 0', state: this.isRunning ? 'running' : 'stopped' }];
  }

  icount(): number {
    return this.history.length;
  }

  bitness(): 64 {
    return 64;
  }

  running(): boolean {
    return this.isRunning;
  }

  run(request: RunRequest): void {
    if (this.isRunning) throw new Error('it is running already');
    if (this.ended) throw new Error('the guest has ended');
    this.isRunning = true;
    this.pausing = false;
    this.events?.continued();
    const step = this.stepper(request);
    let first = true;
    const slice = (): void => {
      if (!this.isRunning) return;
      for (let i = 0; i < (this.options.slice ?? 1000); i++) {
        if (this.pausing) return this.stop({ reason: 'pause', cpu: 0 });
        const stop = step(first);
        first = false;
        if (!this.isRunning) return;
        if (stop) return this.stop(stop);
      }
      setImmediate(slice);
    };
    setImmediate(slice);
  }

  private stop(event: StopEvent): void {
    this.isRunning = false;
    this.events?.stopped(event);
  }

  /** One step of a run: a StopEvent when the run is over. */
  private stepper(request: RunRequest): (first: boolean) => StopEvent | undefined {
    const done = (reason: StopEvent['reason'] = 'step'): StopEvent => ({ reason, cpu: 0 });
    const rip = (): bigint => this.registers.get('rip')!;
    const rsp = (): bigint => this.registers.get('rsp')!;
    const start = rsp();
    const inside = (ranges: [bigint, bigint][]): boolean => ranges.some(([low, high]) => rip() >= low && rip() < high);
    const forward = (isDone: () => boolean) => (first: boolean) => {
      const hit = first ? undefined : this.executionHit();
      return hit ?? this.stepInstruction() ?? (isDone() ? done() : undefined);
    };
    switch (request.kind) {
      case 'continue':
        return forward(() => false);
      case 'stepInstruction': {
        const call = this.decode(rip()).mnemonic === Mnemonic.Call;
        const next = rip() + BigInt(this.decode(rip()).length);
        return forward(() => !request.over || !call || (rip() === next && rsp() >= start));
      }
      case 'stepRange': {
        let deep = false;
        return forward(() => {
          if (inside(request.ranges) && rsp() >= start - 0x200n && !deep) return false;
          if (request.over && this.calledFrom(start)) {
            deep = true;
            return false;
          }
          deep = false;
          return !inside(request.ranges);
        });
      }
      case 'runTo':
        return forward(
          () => rip() === request.address && (request.stackPointer === undefined || rsp() > request.stackPointer),
        );
      case 'reverseContinue':
        return () => (!this.back() ? done('history start') : this.executionHit(true));
      case 'stepBackInstructions': {
        let left = request.count;
        return () => (!this.back() ? done('history start') : --left <= 0 ? done() : undefined);
      }
      case 'stepBackRange':
        let first = this.icount();
        return () => {
          if (!this.back()) return done('history start');
          if (rsp() < start) return undefined;
          if (inside(request.ranges)) {
            first = this.icount();
            return undefined;
          }
          while (request.toStart && this.icount() < first) this.stepInstruction(true);
          return done();
        };
      case 'gotoIcount':
        return () => {
          if (this.icount() === request.icount) return done('goto');
          if (this.icount() > request.icount) this.back();
          else {
            const stopped = this.stepInstruction(true);
            if (stopped || !this.isRunning) return stopped;
          }
          return this.icount() === request.icount ? done('goto') : undefined;
        };
    }
  }

  /** Depth by stack pointer is enough here: a callee's is below its caller's at the call. */
  private calledFrom(stackPointer: bigint): boolean {
    return this.registers.get('rsp')! < stackPointer;
  }

  private context(fields: Record<string, bigint> = {}, replaying = false): HitContext {
    return {
      cpu: 0,
      icount: this.icount(),
      replaying,
      register: (name) => this.registers.get(name)!,
      memory: (_space, address, size) => this.peek(address, size),
      field: (name) => fields[name],
    };
  }

  private executionHit(replaying = false): StopEvent | undefined {
    const rip = this.registers.get('rip')!;
    const hits = this.set.execution.filter(
      (each) => each.address === rip && (each.hit?.(this.context({}, replaying)) ?? true),
    );
    return hits.length > 0 ? { reason: 'breakpoint', cpu: 0, breakpoints: hits.map((each) => each.id) } : undefined;
  }

  private decode(address: bigint): Instruction {
    const offset = Number(address - LOW);
    const decoder = new Decoder(64, this.memory.subarray(offset, offset + 15), DecoderOptions.None);
    decoder.ip = address;
    return decoder.decode();
  }

  private stepInstruction(replaying = false): StopEvent | undefined {
    const rip = this.registers.get('rip')!;
    this.undo = { registers: new Map(this.registers), memory: [], exits: this.log.length };
    this.touched = [];
    const exit = this.execute(rip);
    if (this.ended) return undefined;
    this.history.push(this.undo);
    if (replaying) return undefined;
    if (exit) {
      this.events?.exitsChanged();
      const hits = this.set.exits.filter(
        (each) => each.exit === exit.record.name && (each.hit?.(this.context(exit.fields)) ?? true),
      );
      if (hits.length > 0)
        return { reason: 'exit', cpu: 0, exit: exit.record, breakpoints: hits.map((each) => each.id) };
    }
    for (const access of this.touched) {
      const hits = this.set.data.filter((each) => {
        const overlaps =
          access.address < each.address + BigInt(each.length) && each.address < access.address + BigInt(access.length);
        return (
          overlaps &&
          (each.access === 'readWrite' || each.access === access.kind) &&
          (each.hit?.(this.context()) ?? true)
        );
      });
      if (hits.length > 0) {
        const seen = { ...access, space: 'virtual' as const };
        return { reason: 'data breakpoint', cpu: 0, breakpoints: hits.map((each) => each.id), access: seen };
      }
    }
    return undefined;
  }

  private back(): boolean {
    const undo = this.history.pop();
    if (!undo) return false;
    this.registers = undo.registers;
    for (const { address, old } of undo.memory.reverse()) this.memory.set(old, address);
    this.log.length = undo.exits;
    return true;
  }

  private peek(address: bigint, size: number): bigint | undefined {
    if (address < LOW || address + BigInt(size) > HIGH) return undefined;
    const offset = Number(address - LOW);
    return this.memory.subarray(offset, offset + size).reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  }

  private load(address: bigint, size: number): bigint {
    this.touched.push({ kind: 'read', address, length: size });
    return this.peek(address, size) ?? 0n;
  }

  private store(address: bigint, size: number, value: bigint): void {
    this.touched.push({ kind: 'write', address, length: size });
    const offset = Number(address - LOW);
    this.undo?.memory.push({ address: offset, old: this.memory.slice(offset, offset + size) });
    for (let i = 0; i < size; i++) this.memory[offset + i] = Number((value >> BigInt(8 * i)) & 0xffn);
  }

  /** Register by iced's number: its 64-bit name and width in bytes. */
  private static part(register: Register): [name: string, size: number] {
    const name = Register[register].toLowerCase();
    if (/^r\d+$/.test(name) || GENERAL.includes(name)) return [name, 8];
    const extended = /^(r\d+)([dwb]|l)$/.exec(name);
    if (extended) return [extended[1], { d: 4, w: 2, b: 1, l: 1 }[extended[2]]!];
    if (name.startsWith('e')) return [`r${name.slice(1)}`, 4];
    if (name.endsWith('l')) return [name.length === 2 ? `r${name[0]}x` : `r${name.slice(0, 2)}`, 1];
    return [`r${name}`, 2];
  }

  private address(instruction: Instruction): bigint {
    let at = instruction.memoryDisplacement;
    if (instruction.isIpRelMemoryOperand) return instruction.ipRelMemoryAddress;
    if (instruction.memoryBase !== Register.None) at += this.registers.get(FakeTarget.part(instruction.memoryBase)[0])!;
    if (instruction.memoryIndex !== Register.None) {
      at += this.registers.get(FakeTarget.part(instruction.memoryIndex)[0])! * BigInt(instruction.memoryIndexScale);
    }
    return BigInt.asUintN(64, at);
  }

  private size(instruction: Instruction, operand: number): number {
    if (instruction.opKind(operand) === OpKind.Register) return FakeTarget.part(instruction.opRegister(operand))[1];
    const sizes: Partial<Record<MemorySize, number>> = {
      [MemorySize.UInt8]: 1,
      [MemorySize.UInt16]: 2,
      [MemorySize.UInt32]: 4,
      [MemorySize.Int32]: 4,
      [MemorySize.UInt64]: 8,
    };
    return sizes[instruction.memorySize] ?? 8;
  }

  private read(instruction: Instruction, operand: number): bigint {
    const kind = instruction.opKind(operand);
    if (kind === OpKind.Register) {
      const [name, size] = FakeTarget.part(instruction.opRegister(operand));
      return BigInt.asUintN(size * 8, this.registers.get(name)!);
    }
    if (kind === OpKind.Memory) return this.load(this.address(instruction), this.size(instruction, operand));
    return BigInt.asUintN(64, instruction.immediate(operand));
  }

  private write(instruction: Instruction, operand: number, value: bigint): void {
    const size = this.size(instruction, operand);
    if (instruction.opKind(operand) === OpKind.Memory) return this.store(this.address(instruction), size, value);
    const [name] = FakeTarget.part(instruction.opRegister(operand));
    const keep = size >= 4 ? 0n : (this.registers.get(name)! >> BigInt(size * 8)) << BigInt(size * 8);
    this.registers.set(name, keep | BigInt.asUintN(size * 8, value));
  }

  private push(value: bigint): void {
    const rsp = this.registers.get('rsp')! - 8n;
    this.registers.set('rsp', rsp);
    this.store(rsp, 8, value);
  }

  private pop(): bigint {
    const rsp = this.registers.get('rsp')!;
    this.registers.set('rsp', rsp + 8n);
    return this.load(rsp, 8);
  }

  private execute(rip: bigint): { record: ExitRecord; fields: Record<string, bigint> } | undefined {
    const instruction = this.decode(rip);
    const next = rip + BigInt(instruction.length);
    this.registers.set('rip', next);
    const jump = (): void => void this.registers.set('rip', instruction.nearBranchTarget);
    switch (instruction.mnemonic) {
      case Mnemonic.Nop:
        return undefined;
      case Mnemonic.Mov:
        this.write(instruction, 0, this.read(instruction, 1));
        return undefined;
      case Mnemonic.Lea:
        this.write(instruction, 0, this.address(instruction));
        return undefined;
      case Mnemonic.Add:
      case Mnemonic.Sub:
      case Mnemonic.Xor:
      case Mnemonic.Cmp: {
        const bits = this.size(instruction, 0) * 8;
        const [a, b] = [BigInt.asIntN(bits, this.read(instruction, 0)), BigInt.asIntN(bits, this.read(instruction, 1))];
        const { mnemonic } = instruction;
        const result = mnemonic === Mnemonic.Add ? a + b : mnemonic === Mnemonic.Xor ? a ^ b : a - b;
        if (mnemonic !== Mnemonic.Cmp) this.write(instruction, 0, result);
        this.registers.set('rflags', (result === 0n ? 0x40n : 0n) | (result < 0n ? 0x80n : 0n));
        return undefined;
      }
      case Mnemonic.Jl:
        if (this.registers.get('rflags')! & 0x80n) jump();
        return undefined;
      case Mnemonic.Jmp:
        jump();
        return undefined;
      case Mnemonic.Call:
        this.push(next);
        jump();
        return undefined;
      case Mnemonic.Ret:
        this.registers.set('rip', this.pop());
        return undefined;
      case Mnemonic.Push:
        this.push(this.read(instruction, 0));
        return undefined;
      case Mnemonic.Pop:
        this.write(instruction, 0, this.pop());
        return undefined;
      case Mnemonic.Leave:
        this.registers.set('rsp', this.registers.get('rbp')!);
        this.registers.set('rbp', this.pop());
        return undefined;
      case Mnemonic.Out: {
        const port = this.read(instruction, 0);
        const value = this.read(instruction, 1);
        this.events?.console(new Uint8Array([Number(value & 0xffn)]));
        return this.exit(
          'IO_INSTRUCTION',
          30,
          rip,
          instruction,
          `out 0x${port.toString(16)} <- 0x${value.toString(16)}`,
          { port, value, write: 1n, size: 1n },
        );
      }
      case Mnemonic.Cpuid: {
        const leaf = this.registers.get('rax')!;
        return this.exit('CPUID', 10, rip, instruction, `CPUID leaf 0x${leaf.toString(16)}`, { leaf, subleaf: 0n });
      }
      case Mnemonic.Hlt:
        this.ended = true;
        this.isRunning = false;
        this.events?.ended({ kind: 'power off' });
        return undefined;
      default:
        this.ended = true;
        this.isRunning = false;
        this.events?.ended({
          kind: 'triple fault',
          cpu: 0,
          rip,
          text: 'an instruction that this machine does not have',
        });
        return undefined;
    }
  }

  private exit(
    name: string,
    reason: number,
    rip: bigint,
    instruction: Instruction,
    summary: string,
    fields: Record<string, bigint>,
  ): { record: ExitRecord; fields: Record<string, bigint> } {
    const record: ExitRecord = {
      seq: this.log.length,
      icount: this.icount(),
      cpu: 0,
      name,
      reason,
      rip,
      qualification: fields.port ?? 0n,
      instructionLength: instruction.length,
      guestLinear: 0n,
      guestPhysical: 0n,
      summary,
    };
    this.log.push(record);
    return { record, fields };
  }

  pause(): void {
    this.pausing = true;
  }

  async restart(): Promise<void> {
    if (this.isRunning) throw new Error('pause the guest before restarting it');
    this.reset();
  }

  dispose(): void {
    this.isRunning = false;
    this.disposed = true;
  }

  setBreakpoints(set: BreakpointSet): void {
    this.set = set;
  }

  exitNames(): { name: string; description: string }[] {
    return fakeEngineNames.exits;
  }

  exceptionNames(): { name: string; description: string }[] {
    return fakeEngineNames.exceptions;
  }

  constants(): ReadonlyMap<string, bigint> {
    return new Map([['IA32_LSTAR', 0xc0000082n]]);
  }

  registerInfo(): readonly RegisterInfo[] {
    return REGISTERS;
  }

  async readRegister(_cpu: number, name: string): Promise<bigint> {
    const value = this.registers.get(name);
    if (value === undefined) throw new Error(`no register ${name}`);
    return value;
  }

  async writeRegister(_cpu: number, name: string, value: bigint): Promise<void> {
    if (name === 'cr0' && value >> 32n) throw new Error('cr0: reserved bits 63:32 must be 0');
    this.registers.set(name, value);
  }

  async readMemory(_space: AddressSpace, _cpu: number, address: bigint, length: number): Promise<Uint8Array> {
    if (address < LOW || address >= HIGH) return new Uint8Array(0);
    const offset = Number(address - LOW);
    return this.memory.slice(offset, offset + length);
  }

  async writeMemory(_space: AddressSpace, _cpu: number, address: bigint, data: Uint8Array): Promise<number> {
    if (address < LOW || address >= HIGH) return 0;
    const length = Math.min(data.length, Number(HIGH - address));
    this.memory.set(data.subarray(0, length), Number(address - LOW));
    return length;
  }

  lastExit(): ExitRecord | undefined {
    return this.log[this.log.length - 1];
  }

  describeExit(exit: ExitRecord): DecodedField[] {
    return [
      { name: 'Exit reason', value: `0x${exit.reason.toString(16).padStart(8, '0')}`, text: exit.name },
      {
        name: 'Exit qualification',
        value: `0x${exit.qualification.toString(16).padStart(16, '0')}`,
        children: [{ name: 'Port', value: `0x${exit.qualification.toString(16)}` }],
      },
    ];
  }

  exits(count: number, before = Infinity): ExitRecord[] {
    return this.log
      .filter((exit) => exit.seq < before)
      .reverse()
      .slice(0, count);
  }

  exitCounters(): ExitCounter[] {
    const counts = new Map<string, ExitCounter>();
    for (const { name, reason } of this.log)
      counts.set(name, { name, reason, count: (counts.get(name)?.count ?? 0) + 1 });
    return [...counts.values()];
  }

  vmcs(): DecodedField[] {
    return [
      {
        name: 'Guest state',
        value: '',
        children: [{ name: 'Guest RIP', value: `0x${this.registers.get('rip')!.toString(16).padStart(16, '0')}` }],
      },
    ];
  }

  private entry(address: bigint): PagingEntry {
    const raw = (address & ~0xfffn) | 0x37n;
    const span = 0x1000n;
    const flags = {
      accessed: true,
      dirty: false,
      flags: [],
      permissions: 'rwx',
      memoryType: 'WB',
      present: true,
      leaf: true,
    };
    return {
      level: 'EPT PTE',
      index: Number((address >> 12n) & 511n),
      address: address & ~0xfffn,
      span,
      entryAddress: 0x2000n,
      raw,
      target: address & ~0xfffn,
      ...flags,
    };
  }

  ept(): PagingEntry[] {
    return [this.entry(0x100000n)];
  }

  eptWalk(_cpu: number, gpa: bigint): PagingWalk {
    return gpa < HIGH
      ? { input: gpa, entries: [this.entry(gpa)], result: gpa }
      : { input: gpa, entries: [], fault: 'EPT PML4E not present' };
  }

  pageTables(): PagingEntry[] {
    return [];
  }

  pageWalk(_cpu: number, gva: bigint): PagingWalk {
    return { input: gva, entries: [], fault: 'paging is off' };
  }

  devices(): DecodedField[] {
    return [
      { name: 'UART 16550', value: 'COM1', children: [{ name: 'Divisor', value: '0x0001', text: '115200 baud' }] },
    ];
  }

  consoleInput(data: Uint8Array): boolean {
    this.typed += new TextDecoder().decode(data);
    return true;
  }

  /** For tests: what only engines report. */
  report<K extends keyof TargetEvents>(event: K, ...args: Parameters<TargetEvents[K]>): ReturnType<TargetEvents[K]> {
    return (this.events![event] as (...args: unknown[]) => ReturnType<TargetEvents[K]>)(...args);
  }
}

const fakeEngineNames = {
  exits: CONTROL_EXITS.map((name) => ({ name, description: `the exit ${name}` })),
  exceptions: ['#PF', '#UD'].map((name) => ({ name, description: `the exception ${name}` })),
};

export const FIXTURE = path.join(__dirname, 'fixtures', 'walk.elf');
/** Path of the source as its debug information has it. */
export const SOURCE = '/fixtures/walk.c';

export function fixtureBytes(): Uint8Array {
  return new Uint8Array(readFileSync(FIXTURE));
}

/** An engine that makes fake machines, and remembers them. */
export class FakeEngine implements Engine {
  readonly machines: FakeTarget[] = [];
  launches: EmbeddedLaunch[] = [];

  constructor(private readonly options: FakeOptions = {}) {}

  exitNames(): { name: string; description: string }[] {
    return fakeEngineNames.exits;
  }

  exceptionNames(): { name: string; description: string }[] {
    return fakeEngineNames.exceptions;
  }

  async create(launch: EmbeddedLaunch): Promise<Target> {
    this.launches.push(launch);
    const machine = new FakeTarget(launch.kernel.bytes, this.options);
    this.machines.push(machine);
    return machine;
  }
}
