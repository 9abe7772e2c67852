import { ByteSource } from '../../emulator-core/boot/byteSource';
import { EM_386, ElfFile } from '../../emulator-core/boot/elf';
import { inSlices } from '../introspection/slices';
import { CfaRule, FrameRules, FrameTable } from './dwarf/cfi';
import { Attribute } from './dwarf/constants';
import { evaluateExpression, ExpressionEnvironment, Location } from './dwarf/expr';
import { AttributeValue } from './dwarf/forms';
import { contains, DebugInfo, FunctionEntry, Scope } from './dwarf/info';
import { LineInfo, LineRow } from './dwarf/lineInfo';
import { locationAt } from './dwarf/lists';
import { AddressRange, Warnings } from './dwarf/sections';
import { Type, TypeReader } from './dwarf/types';
import { Die, messageOf, Unit } from './dwarf/unit';
import { BtfTypes } from './btf/btfTypes';
import { SymbolTable } from './elf';
import { FrameContext, toBytes } from './location';
import { i386, RegisterModel, x86_64 } from './registers';
import { BoundedCache } from './boundedCache';
import { SectionData } from './sectionData';
import { TypeSource } from './typeSource';
import { applyRules, UnwindResult } from './unwind';

const optimizing = /(?:^|\s)-O(?:[123sg]|fast|z)?(?=\s|$)/g;

/** A variable or parameter that debug information describes. */
export interface VariableInfo {
  name: string;
  readonly type: Type;
  /** Where it is declared, as the compiler knew the file; undefined when it is not known. */
  declaration: { file: string; line: number } | undefined;
  /** The registers that its place may be in. */
  model: RegisterModel;
  /** Where its value is in a frame of the running machine; undefined when its description cannot be read. */
  locate(context: FrameContext): Promise<Location | undefined>;
}

export interface LinePlace {
  address: bigint;
  line: number;
}

export interface FunctionPlace {
  name: string;
  low: bigint;
  high: bigint;
  /** First address behind the prologue, where parameters can be read; `low` when there is none. */
  prologueEnd: bigint;
}

export interface InlineFrame {
  name: string;
  file: string | undefined;
  line: number;
  column: number;
  /** Line of the function's declaration; undefined when it is not known. */
  declarationLine?: number;
  /** Inlined into the next frame of the list. */
  inlined: boolean;
}

/** One object file's symbols and debug information. Every address here is as linked; SymbolStore adds the load bias. */
export class SymbolFile {
  readonly warnings = new Warnings();
  readonly model: RegisterModel;
  readonly elf: ElfFile | undefined;
  readonly symbols: SymbolTable;
  readonly info: DebugInfo;
  readonly lines: LineInfo;
  readonly types: TypeReader;
  private readonly frames: FrameTable[];
  private btfTypes: TypeSource | null | undefined;

  constructor(
    readonly name: string,
    private readonly contents: Uint8Array | ByteSource,
    private bias = 0n,
  ) {
    let elf: ElfFile | undefined;
    try {
      elf = new ElfFile(contents, name);
      elf.sections();
    } catch (error) {
      this.warnings.add(messageOf(error));
      elf = undefined;
    }
    this.elf = elf;
    this.model = elf && (elf.header.machine === EM_386 || elf.header.bits === 32) ? i386 : x86_64;
    this.symbols = new SymbolTable(elf, (text) => this.warnings.add(text));
    const sections = new SectionData(elf, this.model.addressSize === 8, this.warnings);
    this.info = new DebugInfo(sections);
    this.lines = new LineInfo(sections, this.info, name);
    this.types = new TypeReader(this.info);
    this.frames = [new FrameTable(sections, '.debug_frame'), new FrameTable(sections, '.eh_frame')];
  }

  private attempt<T>(otherwise: T, action: () => T): T {
    try {
      return action();
    } catch (error) {
      this.warnings.add(messageOf(error));
      return otherwise;
    }
  }

  /** Address at run time less address as linked. */
  get offset(): bigint {
    return this.bias;
  }

  /**
   * Says where the file really is, when that becomes known only at run time (KASLR). Everything kept here is as linked and
   * stays good; who moves a file tells those that keep run-time addresses (breakpoints, stacks): KernelListener.changed.
   */
  setOffset(offset: bigint): void {
    this.bias = offset;
  }

  /** Types of the section .BTF, of a kernel that has no DWARF. */
  get btf(): TypeSource | undefined {
    if (this.btfTypes === undefined) {
      const { sections } = this.info;
      const bytes = sections.size('.debug_info') > 0 ? undefined : sections.data('.BTF');
      this.btfTypes = bytes && bytes.length > 0 ? new BtfTypes(`${this.name}: section .BTF`, bytes) : null;
    }
    return this.btfTypes ?? undefined;
  }

  /** Reads what questions about addresses and symbols need. Whoever asks without it waits until it is read. */
  *prepare(): Generator<void, void> {
    yield* this.symbols.prepare();
    yield* this.info.prepare();
  }

  close(): void {
    if (!(this.contents instanceof Uint8Array)) this.contents.close?.();
  }

  get hasDebugInfo(): boolean {
    return this.info.units.length > 0;
  }

  functionAt(address: bigint): FunctionPlace | undefined {
    const entry = this.info.functionAt(address);
    if (entry) {
      const [low, high] = entry.ranges.find((range) => contains([range], address))!;
      return { name: entry.name, low, high, prologueEnd: low === entry.entry ? this.prologueEnd(entry) : low };
    }
    const symbol = this.symbols.symbolAt(address);
    if (!symbol || (symbol.size === 0n && this.lines.rowAt(address) === undefined)) return undefined;
    const high = symbol.address + (symbol.size || address - symbol.address + 1n);
    return { name: symbol.name, low: symbol.address, high, prologueEnd: symbol.address };
  }

  /** Optimized code and assembly have no prologue to skip: variables are described from the first instruction on. */
  prologueEnd(entry: FunctionEntry): bigint {
    const { unit } = entry;
    if (this.info.isAssembly(unit)) return entry.entry;
    // GCC writes its options into DW_AT_producer; the last -O counts.
    const level = unit.producer.match(optimizing)?.pop()?.trim();
    if (level) return entry.entry;
    return this.lines.prologueEnd(entry.entry, entry.ranges);
  }

  /** All ranges of the line that holds an address, within the function that holds it. */
  lineRanges(address: bigint): AddressRange[] {
    const row = this.lines.rowAt(address);
    if (!row) return [];
    const place = this.info.functionAt(address)?.ranges ?? this.symbolRange(address) ?? [[row.low, row.high]];
    const ranges: AddressRange[] = [];
    for (const range of place) {
      for (const each of this.lines.rowsIn(range)) {
        // Code that begins no statement belongs to the one being executed: stepping does not stop there.
        const belongs = each.line === 0 || !each.isStmt || (each.line === row.line && each.file === row.file);
        if (!belongs) continue;
        const low = each.low < range[0] ? range[0] : each.low;
        const high = each.high > range[1] ? range[1] : each.high;
        const last = ranges[ranges.length - 1];
        if (last && last[1] === low) last[1] = high;
        else ranges.push([low, high]);
      }
    }
    return ranges;
  }

  private symbolRange(address: bigint): AddressRange[] | undefined {
    const symbol = this.symbols.symbolAt(address);
    return symbol && symbol.size > 0n ? [[symbol.address, symbol.address + symbol.size]] : undefined;
  }

  /** Where a breakpoint on a line goes: see SymbolStore.addressesForLine. `paths`: which files, as compiled. */
  *addressesForLine(paths: ReadonlySet<string>, name: string, line: number): Generator<void, LinePlace[]> {
    let best = Infinity;
    let addresses: bigint[] = [];
    yield* this.lines.forEachStatement(name, paths, (found, address) => {
      if (found < line || found > best) return;
      if (found < best) addresses = [];
      best = found;
      addresses.push(address());
    });
    yield* this.info.prepare();
    const groups = new Map<string, { address: bigint; rank: number; place: bigint }>();
    // The addresses of a function follow on each other. Thousands of functions are not worth keeping.
    const bodies = new BoundedCache<FunctionEntry, Scope>(1, (entry) => this.info.buildScope(entry, false));
    for (const address of new Set(addresses)) {
      yield;
      const [key, rank] = this.placeOf(address, (entry) => bodies.get(entry));
      const known = groups.get(key);
      if (!known || rank < known.rank || (rank === known.rank && address < known.address))
        groups.set(key, { address, rank, place: this.behindPrologue(address) });
    }
    const result = new Set([...groups.values()].map(({ place }) => place));
    return [...result].sort((a, b) => (a < b ? -1 : 1)).map((address) => ({ address, line: best }));
  }

  /** Which function or inlined instance of one an address is in, and how good a place it is there (0 is best). */
  private placeOf(address: bigint, scopeOf: (entry: FunctionEntry) => Scope): [key: string, rank: number] {
    const scope = this.info.scopesAt(address, scopeOf).find(({ kind }) => kind !== 'block');
    if (!scope) {
      const symbol = this.symbols.symbolAt(address);
      return [symbol ? `symbol ${symbol.address}` : `address ${address}`, 0];
    }
    // Cold parts of a function may lie below it.
    const first = scope.ranges[0]![0];
    const entry = this.info.functionAt(address)!;
    const range = scope.ranges.find((each) => contains([each], scope.kind === 'function' ? entry.entry : first));
    return [`die ${scope.die.offset}`, range && contains([range], address) ? 0 : 1];
  }

  private behindPrologue(address: bigint): bigint {
    const entry = this.info.functionAt(address);
    return entry && entry.entry === address ? this.prologueEnd(entry) : address;
  }

  /** Lines of a file that have code. */
  *breakpointLines(paths: ReadonlySet<string>, name: string, from: number, to: number): Generator<void, Set<number>> {
    const lines = new Set<number>();
    yield* this.lines.forEachStatement(name, paths, (line) => {
      if (line >= from && line <= to) lines.add(line);
    });
    return lines;
  }

  /** The functions at an address, the innermost inlined one first, and where each is at. */
  framesAt(address: bigint): InlineFrame[] {
    const row = this.lines.rowAt(address);
    let place = { file: row?.file, line: row?.line ?? 0, column: row?.column ?? 0 };
    const frames: InlineFrame[] = [];
    for (const scope of this.info.scopesAt(address)) {
      if (scope.kind === 'block') continue;
      const declarationLine = this.info.number(scope.die, Attribute.declLine)?.value;
      frames.push({ name: scope.name, ...place, declarationLine, inlined: scope.kind === 'inlined' });
      const { unit, attributes } = scope.die;
      place = {
        file: this.declarationFile(unit, unit.number(attributes.get(Attribute.callFile))),
        line: unit.number(attributes.get(Attribute.callLine)) ?? 0,
        column: unit.number(attributes.get(Attribute.callColumn)) ?? 0,
      };
    }
    if (frames.length === 0) {
      const name = this.symbols.symbolAt(address)?.name;
      if (name === undefined && !row) return [];
      frames.push({ name: name ?? '', ...place, inlined: false });
    }
    return frames;
  }

  private declarationFile(unit: Unit, number: number | undefined): string | undefined {
    const table = number === undefined ? undefined : this.lines.tableOf(unit);
    return (table && this.lines.filePath(table, number!)) || undefined;
  }

  /** Variables in scope at an address; `frame` counts framesAt from the innermost. */
  scopeVariables(address: bigint, frame: number): { locals: VariableInfo[]; arguments: VariableInfo[] } {
    const result = { locals: [] as VariableInfo[], arguments: [] as VariableInfo[] };
    const scopes = this.info.scopesAt(address);
    const within = scopes[scopes.length - 1];
    let index = 0;
    for (const scope of scopes) {
      if (index === frame) {
        for (const die of scope.variables) {
          const variable = this.attempt(undefined, () => this.variable(die, within));
          if (!variable || variable.name === '') continue;
          // DW_TAG_formal_parameter
          if (die.tag === 0x05) result.arguments.push(variable);
          else result.locals.push(variable);
        }
      }
      if (scope.kind !== 'block') index++;
    }
    return result;
  }

  /** `within`: the out-of-line function that it lives in; undefined for globals. */
  variable(die: Die, within: Scope | undefined): VariableInfo {
    const { types, info } = this;
    const declaredIn = info.number(die, Attribute.declFile);
    const file = declaredIn && this.declarationFile(declaredIn.unit, declaredIn.value);
    const line = info.number(die, Attribute.declLine)?.value ?? 0;
    return {
      name: info.name(die),
      get type(): Type {
        return types.typeOf(die);
      },
      declaration: file ? { file, line } : undefined,
      model: this.model,
      locate: async (context) => {
        try {
          return await this.locate(die, within, types.typeOf(die), context);
        } catch (error) {
          this.warnings.add(messageOf(error));
          return undefined;
        }
      },
    };
  }

  findVariable(name: string, pc: bigint | undefined): VariableInfo | undefined {
    const preferred = pc === undefined ? undefined : this.info.unitAt(pc);
    for (const die of this.info.findVariables(name, preferred)) return this.variable(die, undefined);
    return undefined;
  }

  findType(name: string, pc: bigint | undefined): Type | undefined {
    const preferred = pc === undefined ? undefined : this.info.unitAt(pc);
    const [, keyword, bare] = /^(?:(struct|union|enum|class)\s+)?(.*)$/.exec(name)!;
    const wanted = (type: Type): boolean =>
      keyword === undefined || (type.kind === 'struct' ? type.keyword === keyword : type.kind === keyword);
    for (const die of this.info.findTypes(bare!, preferred)) {
      const type = this.types.at(die.offset);
      if (wanted(type)) return type;
    }
    return undefined;
  }

  /** Value of an enumerator. */
  findEnumerator(name: string, pc: bigint | undefined): bigint | undefined {
    const preferred = pc === undefined ? undefined : this.info.unitAt(pc);
    for (const offset of this.info.enumerationsMentioning(name, preferred)) {
      const type = this.types.at(offset);
      const found = type.kind === 'enum' ? type.enumerators().find((each) => each.name === name) : undefined;
      if (found) return found.value;
    }
    return undefined;
  }

  private async locate(die: Die, within: Scope | undefined, type: Type, context: FrameContext): Promise<Location> {
    const constant = this.info.attribute(die, Attribute.constValue);
    const found = this.info.attribute(die, Attribute.location);
    if (!found) return constant ? constantLocation(constant.value, type.size) : noLocation();
    const { unit } = found.die;
    const expression = this.expressionAt(unit, found.value, context.pc - this.offset);
    if (!expression) return noLocation();
    return evaluateExpression(expression, this.environment(context, unit, within));
  }

  private expressionAt(unit: Unit, value: AttributeValue, pc: bigint): Uint8Array | undefined {
    return value.class === 'block' ? value.value : locationAt(unit, value, pc);
  }

  private environment(context: FrameContext, unit?: Unit, within?: Scope): ExpressionEnvironment {
    const cfa = async (): Promise<bigint | undefined> =>
      (await context.cfa?.()) ?? (await this.unwind(context.pc, context))?.cfa;
    return {
      addressSize: unit?.addressSize ?? this.model.addressSize,
      is64: unit?.is64 ?? false,
      bias: this.offset,
      register: (number) => context.register(number),
      read: (address, length) => context.read(address, length),
      cfa,
      frameBase: async () => {
        const base = within?.die.attributes.get(Attribute.frameBase);
        const expression = base && this.expressionAt(within!.die.unit, base, context.pc - this.offset);
        if (!expression) return undefined;
        // A frame base does not refer to itself.
        const place = await evaluateExpression(expression, { ...this.environment(context, within!.die.unit) });
        if (place.kind === 'register') return context.register(place.register);
        return place.kind === 'memory' ? place.address : place.kind === 'value' ? place.value : undefined;
      },
      indexedAddress: (index) => unit?.indexedAddress(index) ?? 0n,
      baseType: (offset) => {
        const type = unit && this.types.at(unit.offset + offset);
        return type?.kind === 'base' ? { encoding: type.encoding, size: type.size } : undefined;
      },
    };
  }

  private rulesAt(address: bigint): FrameRules | undefined {
    for (const table of this.frames) {
      const rules = this.attempt(undefined, () => table.rulesAt(address));
      if (rules) return rules;
    }
    return undefined;
  }

  /** The CFA rule at an address as linked, for messages and tests. */
  cfaRuleAt(address: bigint): CfaRule | undefined {
    return this.rulesAt(address)?.cfa;
  }

  /** The caller of a frame at a run-time address. */
  async unwind(address: bigint, context: FrameContext): Promise<UnwindResult | undefined> {
    for (const table of this.frames) await inSlices(table.prepare());
    const rules = this.rulesAt(address - this.offset);
    if (!rules) return undefined;
    const environment = this.environment(context);
    return applyRules(rules, { ...environment, cfa: () => Promise.resolve(undefined) }, this.model);
  }

  rowAt(address: bigint): LineRow | undefined {
    return this.lines.rowAt(address);
  }
}

function noLocation(): Location {
  return { kind: 'optimized out', reason: 'no location here' };
}

function constantLocation(value: AttributeValue, size: number | undefined): Location {
  if (value.class === 'block') return { kind: 'implicit', bytes: value.value };
  if (value.class === 'constant') {
    const width = Math.min(size ?? 8, 16);
    return { kind: 'implicit', bytes: toBytes(BigInt.asUintN(width * 8, value.value), width) };
  }
  if (value.class === 'string') return { kind: 'implicit', bytes: new TextEncoder().encode(value.value + '\0') };
  return noLocation();
}
