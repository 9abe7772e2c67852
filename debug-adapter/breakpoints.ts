/**
 * All breakpoints of a session: what the client asked for, where that is in the machine, and when a hit stops. Conditions, hit counts and
 * log messages become one `hit` closure; the engine knows nothing of them. Breakpoints asked for before the machine exists wait for it.
 */
import type { DebugProtocol } from '@vscode/debugprotocol';
import type { Evaluator } from './evaluate';
import { messageOf } from './errors';
import { closest, showAddress } from './expression/compile';
import { findHypercall, HYPERCALL_PREFIX } from './hypercalls';
import { parseHitCondition, splitLogMessage } from './hitCondition';
import { formatMemoryReference, parseMemoryReference } from './memoryReference';
import type { SymbolStore } from './symbols/symbolStore';
import type { BreakpointBase, BreakpointSet, ExitBreakpoint, HitContext, StopEvent, Target } from './target';

export type BreakpointKind = 'source' | 'function' | 'instruction' | 'data' | 'exit' | 'exception';

/** What decides whether a hit stops. */
interface Decision {
  condition?: string;
  hitCondition?: string;
  logMessage?: string;
}

interface Entry extends Decision {
  id: number;
  kind: BreakpointKind;
  /** Text of an error in it, for the client; an entry with an error is not armed. */
  problem?: string;
  addresses: bigint[];
  hits: number;
  hit?: (context: HitContext) => boolean;
  source?: { path: string; line: number; column?: number };
  /** Line that it went to. */
  line?: number;
  functionName?: string;
  /** A function breakpoint on a hypercall: its number. */
  hypercall?: number;
  instructionReference?: string;
  data?: { space: 'virtual' | 'physical'; address: bigint; length: number; access: 'read' | 'write' | 'readWrite' };
  filter?: string;
}

/** What breakpoints need once there is a machine. */
export interface BreakpointMachine {
  target: Target;
  symbols: SymbolStore;
  evaluator: Evaluator;
}

export interface BreakpointListener {
  /** Text of a log point, or of a condition that failed. */
  log(text: string): void;
  changed(breakpoint: DebugProtocol.Breakpoint): void;
}

const FIELD_KINDS: ReadonlySet<BreakpointKind> = new Set(['exit', 'exception', 'data']);

export class Breakpoints {
  private machine: BreakpointMachine | undefined;
  private nextId = 1;
  private quiet = false;
  private readonly sources = new Map<string, Entry[]>();
  private functions: Entry[] = [];
  private instructions: Entry[] = [];
  private data: Entry[] = [];
  private filters: Entry[] = [];
  /** Armed by launch.json or the debug console: independent of the client's filters. */
  private readonly armed = new Map<string, Entry>();
  /** Exits that the adapter itself wants to see; no client is told of them. */
  ownExits: () => readonly ExitBreakpoint[] = () => [];

  constructor(private readonly listener: BreakpointListener) {}

  /** The machine and its symbols are there: finds all places, tells the client, and arms. */
  async attach(machine: BreakpointMachine): Promise<void> {
    this.machine = machine;
    for (const entry of this.all()) {
      await this.resolve(entry);
      if (entry.kind !== 'exit' && entry.kind !== 'exception') this.listener.changed(this.describe(entry));
    }
    this.apply();
  }

  /** Symbols came or moved: finds all places again, tells the client what changed, and arms. */
  async refresh(): Promise<void> {
    if (!this.machine) return;
    for (const entry of this.all()) {
      const before = JSON.stringify(this.describe(entry));
      await this.resolve(entry);
      const now = this.describe(entry);
      if (JSON.stringify(now) !== before) this.listener.changed(now);
    }
    this.apply();
  }

  /** Counts begin anew: the machine was restarted. */
  reset(): void {
    for (const entry of this.all()) entry.hits = 0;
  }

  async setSource(path: string, wanted: DebugProtocol.SourceBreakpoint[]): Promise<DebugProtocol.Breakpoint[]> {
    const entries = wanted.map((each) =>
      this.entry('source', each, { source: { path, line: each.line, column: each.column } }),
    );
    this.keepCounts(this.sources.get(path) ?? [], entries, (entry) => `${entry.source!.line}`);
    this.sources.set(path, entries);
    return this.update(entries);
  }

  async setFunctions(wanted: DebugProtocol.FunctionBreakpoint[]): Promise<DebugProtocol.Breakpoint[]> {
    this.functions = wanted.map((each) => this.entry('function', each, { functionName: each.name.trim() }));
    return this.update(this.functions);
  }

  async setInstructions(wanted: DebugProtocol.InstructionBreakpoint[]): Promise<DebugProtocol.Breakpoint[]> {
    this.instructions = wanted.map((each) => {
      const entry = this.entry('instruction', each, { instructionReference: each.instructionReference });
      try {
        const { space, address } = parseMemoryReference(each.instructionReference, each.offset);
        if (space !== 'virtual') throw new Error('instruction breakpoints take virtual addresses');
        entry.addresses = [address];
      } catch (error) {
        entry.problem = messageOf(error);
      }
      return entry;
    });
    return this.update(this.instructions);
  }

  async setData(wanted: DebugProtocol.DataBreakpoint[]): Promise<DebugProtocol.Breakpoint[]> {
    this.data = wanted.map((each) => {
      const entry = this.entry('data', each, {});
      try {
        entry.data = { ...parseDataId(each.dataId), access: each.accessType ?? 'write' };
      } catch (error) {
        entry.problem = messageOf(error);
      }
      return entry;
    });
    return this.update(this.data);
  }

  /** Exception filters: names of exits and guest exceptions, each with an optional condition. */
  async setFilters(wanted: { name: string; condition?: string }[]): Promise<DebugProtocol.Breakpoint[]> {
    const seen = new Map<string, { name: string; condition?: string }>();
    for (const each of wanted) seen.set(each.name, each.condition ? each : (seen.get(each.name) ?? each));
    this.filters = wanted.map((each) => this.entry(filterKind(each.name), each, { filter: each.name }));
    return this.update(this.filters);
  }

  /** Arms an exit or exception apart from the client's filters. Throws an Error on a wrong condition or name. */
  async arm(name: string, condition?: string): Promise<void> {
    const entry = this.entry(filterKind(name), { condition }, { filter: name });
    await this.resolve(entry);
    if (entry.problem) throw new Error(entry.problem);
    this.armed.set(name, entry);
    this.apply();
  }

  disarm(name: string): boolean {
    const was = this.armed.delete(name);
    this.apply();
    return was;
  }

  /** Exits and exceptions that stop, with their conditions. */
  armedFilters(): { name: string; condition?: string; hits: number }[] {
    return [...this.filters, ...this.armed.values()]
      .filter((entry) => !entry.problem)
      .map(({ filter, condition, hits }) => ({ name: filter!, condition, hits }));
  }

  /** Takes all breakpoints out of the machine, for a run over known ground, and puts them back. */
  mute(quiet: boolean): void {
    if (this.quiet === quiet) return;
    this.quiet = quiet;
    this.apply();
  }

  /** Kinds of the breakpoints that a stop names. */
  kindsOf(event: StopEvent): { kind: BreakpointKind; id: number }[] {
    const ids = new Set(event.breakpoints ?? []);
    return this.all()
      .filter((entry) => ids.has(entry.id))
      .map(({ kind, id }) => ({ kind, id }));
  }

  private all(): Entry[] {
    const groups = [
      ...this.sources.values(),
      this.functions,
      this.instructions,
      this.data,
      this.filters,
      [...this.armed.values()],
    ];
    return groups.flat();
  }

  private entry(kind: BreakpointKind, decision: Decision, rest: Partial<Entry>): Entry {
    const { condition, hitCondition, logMessage } = decision;
    const clean = (text: string | undefined): string | undefined => text?.trim() || undefined;
    return {
      id: this.nextId++,
      kind,
      addresses: [],
      hits: 0,
      condition: clean(condition),
      hitCondition: clean(hitCondition),
      logMessage: logMessage || undefined,
      ...rest,
    };
  }

  /** Setting breakpoints again (another one was added to the file) goes on counting those that were there before. */
  private keepCounts(old: Entry[], now: Entry[], key: (entry: Entry) => string): void {
    const counts = new Map(old.map((entry) => [`${key(entry)} ${entry.condition} ${entry.hitCondition}`, entry]));
    for (const entry of now) {
      const before = counts.get(`${key(entry)} ${entry.condition} ${entry.hitCondition}`);
      if (before) [entry.hits, entry.id] = [before.hits, before.id];
    }
  }

  private async update(entries: Entry[]): Promise<DebugProtocol.Breakpoint[]> {
    for (const entry of entries) await this.resolve(entry);
    this.apply();
    return entries.map((entry) => this.describe(entry));
  }

  private describe(entry: Entry): DebugProtocol.Breakpoint {
    const verified = this.machine !== undefined && !entry.problem;
    const body: DebugProtocol.Breakpoint = { id: entry.id, verified };
    if (entry.problem) body.message = entry.problem;
    else if (!verified) body.message = 'waits for the machine and its symbols';
    if (entry.source) {
      body.source = { path: entry.source.path };
      body.line = entry.line ?? entry.source.line;
    }
    if (entry.addresses.length > 0 && verified) body.instructionReference = showAddress('virtual', entry.addresses[0]);
    return body;
  }

  private async resolve(entry: Entry): Promise<void> {
    const { machine } = this;
    if (!machine) return;
    try {
      if (entry.kind === 'source' || entry.kind === 'function' || entry.kind === 'exit' || entry.kind === 'exception')
        entry.problem = undefined;
      await this.findPlace(entry, machine);
      if (entry.problem) return;
      const hit = await this.makeHit(entry, machine);
      entry.hit = entry.hypercall === undefined ? hit : onlyHypercall(entry.hypercall, hit);
    } catch (error) {
      entry.problem = messageOf(error);
    }
  }

  private async findPlace(entry: Entry, { target, symbols }: BreakpointMachine): Promise<void> {
    switch (entry.kind) {
      case 'source': {
        const places = await symbols.findLine(entry.source!.path, entry.source!.line);
        if (places.length === 0)
          throw new Error(`no code for line ${entry.source!.line} of this file in the loaded symbols`);
        entry.addresses = [...new Set(places.map((place) => place.address))];
        entry.line = places[0].line;
        return;
      }
      case 'function': {
        const name = entry.functionName!;
        if (name.startsWith(HYPERCALL_PREFIX)) {
          entry.hypercall = findHypercall(target, name.slice(HYPERCALL_PREFIX.length)).number;
          return;
        }
        if (/^(0x[0-9a-f]+|\d+)$/i.test(name)) entry.addresses = [BigInt(name)];
        else entry.addresses = symbols.addressesForFunction(name).map((place) => place.address);
        if (entry.addresses.length === 0) {
          if (symbols.loading) throw new Error(`waits: ${symbols.loading}`);
          const near = closest(name, symbols.completeNames(name.slice(0, 2), 500));
          throw new Error(`no function '${name}' in the loaded symbols${near ? `; did you mean ${near}?` : ''}`);
        }
        return;
      }
      case 'exit':
      case 'exception': {
        const names = (entry.kind === 'exit' ? target.exitNames() : target.exceptionNames()).map((each) => each.name);
        if (names.includes(entry.filter!)) return;
        const near = closest(entry.filter!, names);
        throw new Error(
          `no ${entry.kind === 'exit' ? 'VM exit' : 'exception'} is called '${entry.filter}'${near ? `; did you mean ${near}?` : ''}`,
        );
      }
      case 'data':
        if (!target.capabilities.dataBreakpoints) throw new Error('this engine has no data breakpoints');
    }
  }

  private async makeHit(
    entry: Entry,
    { evaluator, target }: BreakpointMachine,
  ): Promise<((context: HitContext) => boolean) | undefined> {
    const { condition: text, hitCondition, logMessage } = entry;
    if (!text && !hitCondition && !logMessage) return (context) => context.replaying || entry.hits++ >= 0;
    const options = {
      address: entry.kind === 'data' ? undefined : entry.addresses[0],
      fields: FIELD_KINDS.has(entry.kind) || entry.hypercall !== undefined,
      pointerSize: target.bitness(0) === 64 || entry.kind === 'source' ? 8 : 4,
    };
    const compiled = text ? await evaluator.compileCondition(text, options) : undefined;
    const counts = hitCondition ? parseHitCondition(hitCondition) : undefined;
    const parts = logMessage
      ? await Promise.all(
          splitLogMessage(logMessage).map(async (part) =>
            part.expression
              ? { ...part, compiled: await evaluator.compileCondition(part.text, options) }
              : { ...part, compiled: undefined },
          ),
        )
      : undefined;
    const isTrue = compiled?.value;
    const report = this.reporter(entry);
    const message = (context: HitContext): string =>
      parts!
        .map(({ text: literal, compiled: expression }) => {
          if (!expression) return literal;
          try {
            return evaluator.showInteger(expression, expression.value(context));
          } catch (error) {
            return `<${messageOf(error)}>`;
          }
        })
        .join('');
    return (context) => {
      if (isTrue) {
        try {
          if (isTrue(context) === 0n) return false;
        } catch (error) {
          report(error);
          return !context.replaying;
        }
      }
      // Replayed history was counted and logged when it happened.
      if (context.replaying) return !parts;
      entry.hits++;
      if (counts && !counts(entry.hits)) return false;
      if (!parts) return true;
      this.listener.log(message(context) + '\n');
      return false;
    };
  }

  /** Reports a condition's failure once: it would be the same at every hit. */
  private reporter(entry: Entry): (error: unknown) => void {
    let reported = false;
    return (error) => {
      if (reported) return;
      reported = true;
      const where = entry.source ? `line ${entry.source.line}` : (entry.functionName ?? entry.filter ?? 'breakpoint');
      this.listener.log(`${where}: the condition '${entry.condition}' can't be evaluated: ${messageOf(error)}\n`);
    };
  }

  /** Gives the engine the whole set. */
  private apply(): void {
    if (!this.machine) return;
    const set: BreakpointSet = { execution: [], data: [], exits: [], exceptions: [] };
    for (const entry of this.quiet ? [] : this.all()) {
      if (entry.problem) continue;
      const base: BreakpointBase = { id: entry.id, ...(entry.hit ? { hit: entry.hit } : {}) };
      if (entry.data) set.data.push({ ...base, ...entry.data });
      else if (entry.hypercall !== undefined) set.exits.push({ ...base, exit: 'VMCALL' });
      else if (entry.kind === 'exit') set.exits.push({ ...base, exit: entry.filter! });
      else if (entry.kind === 'exception') set.exceptions.push({ ...base, exception: entry.filter! });
      else for (const address of entry.addresses) set.execution.push({ ...base, address });
    }
    if (!this.quiet) set.exits.push(...this.ownExits());
    this.machine.target.setBreakpoints(set);
  }
}

function onlyHypercall(number: number, hit: Entry['hit']): Entry['hit'] {
  return (context) => context.field('nr') === BigInt(number) && (hit?.(context) ?? true);
}

function filterKind(name: string): 'exit' | 'exception' {
  return name.startsWith('#') ? 'exception' : 'exit';
}

/** A data breakpoint's identity: 'phys:0x1000/4'. */
export function dataId(space: 'virtual' | 'physical', address: bigint, length: number): string {
  return `${formatMemoryReference({ space, address })}/${length}`;
}

const MAX_WATCHED = 1 << 30;

function parseDataId(text: string): { space: 'virtual' | 'physical'; address: bigint; length: number } {
  const slash = text.lastIndexOf('/');
  const length = slash < 0 ? 1 : Number(text.slice(slash + 1));
  if (!Number.isInteger(length) || length < 1 || length > MAX_WATCHED)
    throw new Error(`'${text}': expected 1 to ${MAX_WATCHED} bytes after '/'`);
  const { space, address } = parseMemoryReference(slash < 0 ? text : text.slice(0, slash));
  if (space === 'host') throw new Error("memory of the VMM itself can't be watched");
  return { space, address, length };
}
