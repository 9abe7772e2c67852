import { ByteSource } from '../../emulator-core/boot/byteSource';
import { atOnce, inSlices } from '../introspection/slices';
import { Location } from './dwarf/expr';
import { strip, Type } from './dwarf/types';
import { messageOf } from './dwarf/unit';
import { SymbolKind } from './elf';
import { entryArguments } from './entryArguments';
import { FrameContext, readLocation } from './location';
import { baseName, commonSuffix, normalizePath, replacePrefix, samePath } from './paths';
import type { RuntimeSymbols } from './runtimeSymbols';
import { FunctionPlace, InlineFrame, LinePlace, SymbolFile, VariableInfo } from './symbolFile';
import { x86_64 } from './registers';
import { TypeSource } from './typeSource';
import { UnwindResult } from './unwind';
import { Child, children, extractBits, formatString, formatValue, isString, MAX_STRING } from './values';

export type { FrameContext } from './location';
export type { FunctionPlace, InlineFrame, LinePlace, SymbolFile, VariableInfo } from './symbolFile';
export type { UnwindResult } from './unwind';
export type { Location } from './dwarf/expr';
export type { Type } from './dwarf/types';

export interface SymbolHit {
  name: string;
  address: bigint;
  size: bigint;
  kind: SymbolKind;
  /** Absent: the guest's own table has it. */
  file?: SymbolFile;
}

export interface LineHit {
  /** Path in the editor, as far as the source map knows it. */
  file: string;
  line: number;
  column: number;
  /** Range of addresses of the row: [low, high). */
  low: bigint;
  high: bigint;
  isStmt: boolean;
}

/** Bytes of a value that has a place in memory, or without one (in a register, or computed). */
export interface Value {
  type: Type;
  bytes: Uint8Array | undefined;
  address?: bigint;
  bitOffset?: number;
  bitSize?: number;
}

const addressMask = 64;

/**
 * Symbols and debug information of all files of a session. Addresses are those of the running machine, unsigned 64-bit.
 * Nothing here throws for what a file contains: what cannot be understood is missing from the answer, and `warnings` says why.
 */
export class SymbolStore {
  readonly files: SymbolFile[] = [];
  /** The guest's own symbols, for what no file knows. */
  runtime: RuntimeSymbols | undefined;
  /** What is still being read, for messages: 'the symbols of the kernel are being read'. */
  loading: string | undefined;
  /** Types of what has no debug information. */
  readonly types: TypeSource[] = [];
  private readonly notes: string[] = [];
  /** [prefix as compiled, prefix in the editor], the first that fits wins. */
  private sourceMap: [from: string, to: string][] = [];
  /** Prefixes found by matching files by the end of their path. */
  private readonly learned: [from: string, to: string][] = [];

  /**
   * Adds an object file.
   * @param name its path, for messages and for relative paths in its debug information
   * @param contents its bytes, or a source that they are read from as far as they are needed
   * @param options offset: address at run time less address as linked
   */
  addFile(name: string, contents: Uint8Array | ByteSource, options: { offset?: bigint } = {}): SymbolFile {
    const file = new SymbolFile(name, contents, options.offset);
    this.files.push(file);
    if (file.btf) this.addTypes(file.btf);
    return file;
  }

  /** Adds types that come without places; debug information of files counts first. */
  addTypes(source: TypeSource): void {
    this.types.push(source);
  }

  removeTypes(source: TypeSource): void {
    const at = this.types.indexOf(source);
    if (at >= 0) this.types.splice(at, 1);
  }

  /** The session is over: closes files. */
  close(): void {
    for (const file of this.files) file.close();
  }

  /**
   * Reads the symbols of all files and which code is whose, a few milliseconds at a time. Everything that is asked for without it
   * gets the same answers, but stops the event loop until enough has been read.
   */
  async prepare(): Promise<void> {
    for (const file of this.files) await this.guardAsync(file, () => inSlices(file.prepare()));
    await this.prepareTypes();
  }

  private async prepareTypes(): Promise<void> {
    for (const source of this.types) if (!source.ready) await inSlices(source.prepare());
  }

  /** As `prepare`, for what finds variables, types and enumerators by name in all units. Quick when it has been read. */
  async prepareNames(): Promise<void> {
    for (const file of this.files) {
      if (!file.info.namesReady) await this.guardAsync(file, () => inSlices(file.info.prepareNames()));
    }
    await this.prepareTypes();
  }

  /** Where sources are: pairs of a path prefix as compiled and the same prefix in the editor. */
  setSourceMap(pairs: Iterable<[from: string, to: string]>): void {
    this.sourceMap = [...pairs];
    this.learned.length = 0;
  }

  /** What could not be understood, each note once: 'kernel.elf: .debug_line: expected ...'. */
  get warnings(): string[] {
    const prefixed = this.files.flatMap(({ name, warnings }) =>
      warnings.list.map((text) => (text.startsWith(name) ? text : `${name}: ${text}`)),
    );
    return [...this.notes, ...prefixed, ...this.types.flatMap(({ warnings }) => warnings)];
  }

  private guard<T>(file: SymbolFile, action: () => T): T | undefined {
    try {
      return action();
    } catch (error) {
      file.warnings.add(messageOf(error));
      return undefined;
    }
  }

  /** The first file's answer that is not undefined, asked with the address as linked there. */
  private ask<T>(address: bigint, query: (file: SymbolFile, linked: bigint) => T | undefined): T | undefined {
    for (const file of this.files) {
      const linked = address - file.offset;
      if (linked < 0n || linked >> BigInt(addressMask) !== 0n) continue;
      const answer = this.guard(file, () => query(file, linked));
      if (answer !== undefined) return answer;
    }
    return undefined;
  }

  symbolAt(address: bigint): (SymbolHit & { offset: bigint }) | undefined {
    let best: (SymbolHit & { offset: bigint }) | undefined;
    for (const file of this.files) {
      const found = this.guard(file, () => file.symbols.symbolAt(address - file.offset));
      if (found && (!best || found.offset < best.offset)) {
        best = { ...found, address: found.address + file.offset, file };
      }
    }
    const own = this.runtime?.symbolAt(address);
    return own && (!best || own.offset < best.offset) ? own : best;
  }

  /** `name` or `name+0x10` of an address, undefined when no symbol covers it. */
  describeAddress(address: bigint): string | undefined {
    const found = this.symbolAt(address);
    return found && (found.offset === 0n ? found.name : `${found.name}+0x${found.offset.toString(16)}`);
  }

  findSymbol(name: string): SymbolHit | undefined {
    for (const file of this.files) {
      const found = this.guard(file, () => file.symbols.find(name));
      if (found) {
        return { name, address: found.address + file.offset, size: found.size, kind: found.kind, file };
      }
    }
    return this.runtime?.find(name);
  }

  /** At most `max` symbol names that begin with `prefix`, in alphabetical order. */
  completeNames(prefix: string, max: number): string[] {
    const names = new Set<string>();
    for (const file of this.files) {
      for (const name of this.guard(file, () => file.symbols.complete(prefix, max)) ?? []) names.add(name);
    }
    for (const name of this.runtime?.complete(prefix, max) ?? []) names.add(name);
    return [...names].sort().slice(0, Math.max(0, max));
  }

  /** The source line of an address; undefined where none is known (or the compiler says that there is none, line 0). */
  lineAt(address: bigint): LineHit | undefined {
    return this.ask(address, (file, linked) => {
      const row = file.rowAt(linked);
      if (!row || row.line === 0) return undefined;
      const { line, column, isStmt } = row;
      const [low, high] = [row.low + file.offset, row.high + file.offset];
      return { file: this.toEditor(row.file), line, column, low, high, isStmt };
    });
  }

  /** Ranges [low, high) of all code of the line that holds an address, within its function: where a step goes on. */
  lineRanges(address: bigint): [low: bigint, high: bigint][] {
    const ranges = this.ask(address, (file, linked) => {
      const found = file.lineRanges(linked);
      if (found.length === 0) return undefined;
      return found.map(([low, high]): [bigint, bigint] => [low + file.offset, high + file.offset]);
    });
    return ranges ?? [];
  }

  /**
   * Where a breakpoint on a source line goes: one address for each function, clone and inlined instance that holds code
   * of the line; behind the prologue where the line opens the function. A line without code gets the next that has some.
   * @param path as the editor knows the file
   */
  addressesForLine(path: string, line: number): LinePlace[] {
    return atOnce(this.placesOfLine(path, line));
  }

  /** The same, a few milliseconds at a time: the line of a header may be in thousands of units. */
  findLine(path: string, line: number): Promise<LinePlace[]> {
    return inSlices(this.placesOfLine(path, line));
  }

  private *placesOfLine(path: string, line: number): Generator<void, LinePlace[]> {
    const found: LinePlace[] = [];
    for (const { file, paths } of yield* this.matchFiles(path)) {
      const places = yield* this.guardSteps(file, file.addressesForLine(paths, baseName(path), line));
      for (const place of places ?? []) found.push({ address: place.address + file.offset, line: place.line });
    }
    // Several files may have the line or only a later one: the nearest counts for all.
    const nearest = Math.min(...found.map((place) => place.line));
    return found.filter((place) => place.line === nearest);
  }

  /** Lines from `from` to `to` (inclusive) that have code, ascending. */
  breakpointLines(path: string, from: number, to: number): number[] {
    return atOnce(this.linesWithCode(path, from, to));
  }

  /** The same, a few milliseconds at a time. */
  findLines(path: string, from: number, to: number): Promise<number[]> {
    return inSlices(this.linesWithCode(path, from, to));
  }

  private *linesWithCode(path: string, from: number, to: number): Generator<void, number[]> {
    const lines = new Set<number>();
    for (const { file, paths } of yield* this.matchFiles(path)) {
      const found = yield* this.guardSteps(file, file.breakpointLines(paths, baseName(path), from, to));
      for (const line of found ?? []) lines.add(line);
    }
    return [...lines].sort((a, b) => a - b);
  }

  private *guardSteps<T>(file: SymbolFile, work: Generator<void, T>): Generator<void, T | undefined> {
    try {
      return yield* work;
    } catch (error) {
      file.warnings.add(messageOf(error));
      return undefined;
    }
  }

  /** Where a breakpoint on a function goes: behind the prologue of each out-of-line copy. Empty for unknown names. */
  addressesForFunction(name: string): LinePlace[] {
    const result = new Map<bigint, LinePlace>();
    for (const file of this.files) {
      this.guard(file, () => {
        const addresses = new Set<bigint>();
        for (const symbol of file.symbols.findAll(name)) {
          if (symbol.kind !== 'object') addresses.add(symbol.address);
        }
        if (addresses.size === 0) for (const { entry } of file.info.findFunctions(name)) addresses.add(entry);
        for (const address of addresses) {
          const place = file.functionAt(address);
          const at = place?.low === address ? place.prologueEnd : address;
          result.set(at, { address: at + file.offset, line: file.rowAt(at)?.line ?? 0 });
        }
      });
    }
    if (result.size === 0) {
      for (const { kind, address } of this.runtime?.findAll(name) ?? []) {
        if (kind !== 'object') result.set(address, { address, line: 0 });
      }
    }
    return [...result.values()];
  }

  /** `sourceFiles`, a few milliseconds at a time. */
  async findSourceFiles(): Promise<string[]> {
    for (const file of this.files) await this.guardAsync(file, () => inSlices(file.lines.prepare()));
    return inSlices(this.editorPaths());
  }

  /** Paths of all source files, as the editor knows them. */
  sourceFiles(): string[] {
    return atOnce(this.editorPaths());
  }

  private *editorPaths(): Generator<void, string[]> {
    const paths = new Set<string>();
    for (const file of this.files) {
      for (const path of this.guard(file, () => file.lines.sourceFiles()) ?? []) {
        paths.add(this.toEditor(path));
        yield;
      }
    }
    return [...paths].sort();
  }

  /** The function, or part of one, that holds an address. */
  functionAt(address: bigint): FunctionPlace | undefined {
    const place = this.ask(address, (file, linked) => {
      const place = file.functionAt(linked);
      if (!place) return undefined;
      const { offset } = file;
      const { name, low, high, prologueEnd } = place;
      return { name, low: low + offset, high: high + offset, prologueEnd: prologueEnd + offset };
    });
    const own = place ? undefined : this.runtime?.symbolAt(address);
    if (!own || own.kind !== 'function') return place;
    return { name: own.name, low: own.address, high: own.address + own.size, prologueEnd: own.address };
  }

  /** The chain of inlined functions at an address, the innermost first; the last has a frame of its own. */
  framesAt(address: bigint): InlineFrame[] {
    const frames = this.ask(address, (file, linked) => {
      const found = file.framesAt(linked);
      return found.length > 0 ? found : undefined;
    });
    return (frames ?? []).map((frame) => ({ ...frame, file: frame.file && this.toEditor(frame.file) }));
  }

  /**
   * Variables in scope at an address, those of inner blocks first.
   * @param frame which of framesAt(address): 0 is the innermost inlined function
   */
  scopeVariables(address: bigint, frame = 0): { locals: VariableInfo[]; arguments: VariableInfo[] } {
    const found = this.ask(address, (file, linked) => {
      const variables = file.scopeVariables(linked, frame);
      return variables.locals.length + variables.arguments.length > 0 ? variables : undefined;
    });
    if (found) return found;
    return { locals: [], arguments: frame === 0 ? this.argumentsAtEntry(address) : [] };
  }

  /** Parameters of a function without debug information, at its first instruction. */
  private argumentsAtEntry(address: bigint): VariableInfo[] {
    if (this.types.length === 0) return [];
    const symbol = this.symbolAt(address);
    if (symbol?.offset !== 0n || symbol.kind !== 'function') return [];
    if (this.ask(address, (file, linked) => file.info.functionAt(linked))) return [];
    // Static functions may share a name, and types know functions by name alone.
    if (this.addressesForFunction(symbol.name).length !== 1) return [];
    for (const source of this.types) {
      const prototype = source.functionPrototype(symbol.name);
      if (!prototype) continue;
      return entryArguments(prototype).map((each) => ({ ...each, declaration: undefined, model: x86_64 }));
    }
    return [];
  }

  /** A global or static variable; `pc`: prefer the one of the code there. */
  findVariable(name: string, pc?: bigint): VariableInfo | undefined {
    return this.firstOf((file) => file.findVariable(name, pc === undefined ? undefined : pc - file.offset));
  }

  /** A type by its name: 'u64', 'struct task_struct', also without the keyword. */
  findType(name: string, pc?: bigint): Type | undefined {
    const found = this.firstOf((file) => file.findType(name, pc === undefined ? undefined : pc - file.offset));
    if (found || this.types.length === 0) return found;
    const [, keyword, bare] = /^(?:(struct|union|enum)\s+)?(.*)$/s.exec(name)!;
    return this.firstType((source) => source.findType(bare!, keyword));
  }

  /** Value of an enumerator by its name; enumerations of the unit at `pc` count first. */
  findEnumerator(name: string, pc?: bigint): bigint | undefined {
    const found = this.firstOf((file) => file.findEnumerator(name, pc === undefined ? undefined : pc - file.offset));
    return found ?? this.firstType((source) => source.findEnumerator(name));
  }

  private firstType<T>(query: (source: TypeSource) => T | undefined): T | undefined {
    for (const source of this.types) {
      const found = query(source);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  private firstOf<T>(query: (file: SymbolFile) => T | undefined): T | undefined {
    for (const file of this.files) {
      const found = this.guard(file, () => query(file));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** The caller of a frame whose code is at `address` (of callers: the return address less one), by call frame information. */
  async unwind(address: bigint, context: FrameContext): Promise<UnwindResult | undefined> {
    for (const file of this.files) {
      const result = await this.guardAsync(file, () => file.unwind(address, context));
      if (result) return result;
    }
    return this.runtime?.unwind(address, context);
  }

  private async guardAsync<T>(file: SymbolFile, action: () => Promise<T>): Promise<T | undefined> {
    try {
      return await action();
    } catch (error) {
      file.warnings.add(messageOf(error));
      return undefined;
    }
  }

  /** Where a variable's value is. Globals need only `read` of the context. */
  async evaluateLocation(variable: VariableInfo, context: FrameContext): Promise<Location> {
    return (await variable.locate(context)) ?? { kind: 'optimized out', reason: 'its description cannot be read' };
  }

  /** A variable's value; `bytes` is undefined when it was optimized out or cannot be read. */
  async readVariable(variable: VariableInfo, context: FrameContext): Promise<Value> {
    const location = await this.evaluateLocation(variable, context);
    const { type } = variable;
    const size = type.size ?? 0;
    const bytes = await readLocation(location, size, context).catch(() => undefined);
    return { type, bytes, ...(location.kind === 'memory' ? { address: location.address } : {}) };
  }

  /** One line for a value. Adds the text behind character pointers and the symbol behind other pointers. */
  async describeValue(value: Value, hexMode: boolean, context: Pick<FrameContext, 'read'>): Promise<string> {
    const { type, bytes } = value;
    if (!bytes) return value.address === undefined ? '<optimized out>' : '<cannot be read>';
    try {
      const bits =
        value.bitSize === undefined ? undefined : { bitOffset: value.bitOffset ?? 0, bitSize: value.bitSize };
      const text = formatValue(type, bytes, hexMode, bits);
      const bare = strip(type);
      if (bare.kind !== 'pointer' || bytes.length < bare.size) return text;
      const target = extractBits(bytes, 0, bare.size * 8);
      if (target === 0n) return text;
      if (isString(type)) {
        const pointed = await context.read(target, MAX_STRING);
        return pointed.length > 0 ? `${text} ${formatString(pointed, false)}` : text;
      }
      const symbol = this.describeAddress(target);
      return symbol ? `${text} <${symbol}>` : text;
    } catch (error) {
      return `<${messageOf(error)}>`;
    }
  }

  /** A page of the parts of a value (see `children` in values.ts), with their bytes. */
  async readChildren(
    value: Value,
    context: Pick<FrameContext, 'read'>,
    start = 0,
    count = 100,
  ): Promise<{ name: string; value: Value }[]> {
    let parts: Child[] = [];
    try {
      parts = children(value.type, start, count);
    } catch {
      return [];
    }
    const result: { name: string; value: Value }[] = [];
    for (const { name, type, offset, bitOffset, bitSize, dereference } of parts) {
      const size = bitSize === undefined ? (type.size ?? 0) : Math.ceil(((bitOffset ?? 0) + bitSize) / 8);
      const bits = bitSize === undefined ? {} : { bitOffset: bitOffset ?? 0, bitSize };
      let base = value.address;
      if (dereference) base = value.bytes && extractBits(value.bytes, 0, value.bytes.length * 8);
      const address = base === undefined ? undefined : BigInt.asUintN(64, base + BigInt(offset));
      let bytes: Uint8Array | undefined;
      if (!dereference && value.bytes && offset + size <= value.bytes.length) {
        bytes = value.bytes.subarray(offset, offset + size);
      } else if (address !== undefined && size <= 1 << 20) {
        const read = await context.read(address, size);
        bytes = read.length >= size ? read.subarray(0, size) : undefined;
      }
      result.push({ name, value: { type, bytes, ...(address === undefined ? {} : { address }), ...bits } });
    }
    return result;
  }

  /** The editor's path of a file as compiled. */
  toEditor(path: string): string {
    for (const [from, to] of [...this.sourceMap, ...this.learned]) {
      const mapped = replacePrefix(path, from, to);
      if (mapped !== undefined) return mapped;
    }
    return path;
  }

  /**
   * The files, as compiled, that an editor's path means: the same path, with or without the source map; where no file has
   * it, those whose path shares the longest end with it, at least the name.
   */
  private *matchFiles(path: string): Generator<void, { file: SymbolFile; paths: Set<string> }[]> {
    const wanted = normalizePath(path);
    const name = baseName(wanted);
    const candidates = [wanted];
    for (const [from, to] of this.sourceMap) {
      const mapped = replacePrefix(wanted, to, from);
      if (mapped !== undefined) candidates.push(mapped);
    }
    const exact: { file: SymbolFile; paths: Set<string> }[] = [];
    const similar: { file: SymbolFile; path: string; common: number }[] = [];
    for (const file of this.files) {
      yield* this.guardSteps(file, file.lines.prepare());
      const paths = new Set(this.guard(file, () => file.lines.filesNamed(name)) ?? []);
      const same = [...paths].filter((each) => candidates.some((candidate) => samePath(candidate, each)));
      if (same.length > 0) exact.push({ file, paths: new Set(same) });
      for (const each of paths) similar.push({ file, path: each, common: commonSuffix(wanted, each) });
    }
    if (exact.length > 0 || similar.length === 0) return exact;
    const longest = Math.max(...similar.map(({ common }) => common));
    const matches = similar.filter(({ common }) => common === longest);
    for (const match of matches) this.learn(match.path, wanted, longest);
    return matches.map(({ file, path: each }) => ({ file, paths: new Set([each]) }));
  }

  /** Remembers what a match by the end of a path says about where sources are, so that stops show the editor's file. */
  private learn(compiled: string, wanted: string, common: number): void {
    const prefix = (path: string): string => path.split('/').slice(0, -common).join('/');
    const from = prefix(compiled);
    const known = this.learned.some(([other]) => other === from);
    if (from !== '' && !known && this.learned.length < 1000) this.learned.push([from, prefix(wanted)]);
  }
}
