/**
 * Expressions in the context of a frame (watch, hover, debug console) or of a breakpoint (conditions): what names mean there. The language
 * itself is in expression/.
 */
import { evaluateOver, type Access, type AsyncSource } from './expression/access';
import {
  closest,
  compileNode,
  inMemory,
  isTypeName,
  namesIn,
  showAddress,
  type Compiled,
  type Names,
} from './expression/compile';
import { isFraction, listLiteral, realLiteral, refuseFraction, registerLiteral } from './expression/literals';
import { parse } from './expression/parser';
import { RegisterNames, type RegisterPart } from './expression/registers';
import { ExpressionError } from './expression/tokens';
import { shapeOf } from './expression/types';
import { rests } from './introspection/slices';
import type { Frame } from './stack';
import { strip, type Type } from './symbols/dwarf/types';
import { readLocation, toBytes, type FrameContext } from './symbols/location';
import { i386, registerName, x86_64 } from './symbols/registers';
import type { Location, SymbolStore, Value, VariableInfo } from './symbols/symbolStore';
import { decodeReal, encodeValue } from './symbols/values';
import type { AddressSpace, ExitRecord, Target } from './target';

/** Names that conditions of exits and exceptions may use for the fields of what happened (HitContext.field). */
export const FIELD_NAMES: readonly string[] = [
  ...[
    'port',
    'size',
    'write',
    'read',
    'string',
    'rep',
    'immediate',
    'value',
    'leaf',
    'subleaf',
    'msr',
    'gpa',
    'gla',
    'fetch',
  ],
  ...['cr', 'dr', 'register', 'access', 'vector', 'error', 'address', 'rip', 'reason', 'qualification', 'length', 'nr'],
];
const fieldNames = new Set(FIELD_NAMES);

/** Largest aggregate read at once to be shown. */
const MAX_AGGREGATE = 1 << 16;
const FAR_FROM_LABEL = 0x1000n;

/** A value as it can be shown, opened and written. */
export interface Evaluated {
  text: string;
  type: string;
  /** The bytes and their type, for children. */
  value?: Value;
  space: AddressSpace;
  /** Where it is, or what it points to: what a memory view shows. */
  memoryReference?: string;
  place?:
    | { kind: 'memory'; space: AddressSpace; address: bigint; bitOffset?: number; bitSize?: number }
    | { kind: 'register'; part: RegisterPart };
  integer?: bigint;
}

export interface FormatOptions {
  hex?: boolean;
}

/** `$register = value`, also of one lane. */
const REGISTER_ASSIGNMENT = /^\s*(\$\w+(?:\.\w+)?(?:\s*\[\s*\d+\s*\])?)\s*=(?!=)(.*)$/s;

export class Evaluator {
  readonly registers: RegisterNames;

  constructor(
    private readonly target: Target,
    private readonly symbols: SymbolStore,
  ) {
    this.registers = new RegisterNames(target.registerInfo());
  }

  /** Evaluates text in a frame. Assignments are carried out. Throws ExpressionError or what the target says. */
  async evaluate(text: string, frame: Frame, options: FormatOptions = {}): Promise<Evaluated> {
    const [, registerText, valueText] = REGISTER_ASSIGNMENT.exec(text) ?? [];
    if (registerText) {
      // Floating-point and wide values are no expressions of their own.
      const { type } = await this.compileIn(registerText, frame);
      if (shapeOf(type) !== 'integer' || isFraction(valueText))
        return this.assign(registerText, valueText, frame, options);
    }
    const compiled = await this.compileIn(text, frame);
    const source = this.source(frame);
    if (compiled.assigns) {
      const [value, place] = await evaluateOver(
        source,
        (access) => [compiled.value(access), this.locate(compiled, access)] as const,
      );
      await this.store(place!, compiled, value, frame);
      const target = await this.compileIn(text.slice(0, assignmentAt(text)), frame);
      return this.present(target, this.source(frame), frame, options);
    }
    return this.present(compiled, source, frame, options);
  }

  /** Evaluates to an integer: addresses of commands, values to store. */
  async integer(text: string, frame: Frame): Promise<{ value: bigint; space: AddressSpace; compiled: Compiled }> {
    const compiled = await this.compileIn(text, frame);
    if (compiled.assigns) throw new ExpressionError('expected a value, not an assignment');
    const array =
      strip(compiled.type).kind === 'array' && compiled.place?.kind === 'memory' ? compiled.place : undefined;
    const value = await evaluateOver(this.source(frame), array ? array.address : compiled.value);
    return { value, space: array?.space ?? compiled.space, compiled };
  }

  /** Writes the value of `text` to the place that `targetText` names. */
  async assign(targetText: string, text: string, frame: Frame, options: FormatOptions = {}): Promise<Evaluated> {
    const compiled = await this.compileIn(targetText, frame);
    const place = await evaluateOver(this.source(frame), (access) => this.locate(compiled, access));
    if (!place) throw new ExpressionError(`'${targetText}' is no register, variable or memory that can be written`);
    await this.write(place, compiled, text, frame);
    return this.present(await this.compileIn(targetText, frame), this.source(frame), frame, options);
  }

  /** Writes to a value that was shown before: a child of a variable. */
  async assignValue(value: Value, space: AddressSpace, text: string, frame: Frame): Promise<void> {
    if (value.address === undefined) throw new ExpressionError('this value is not in memory and cannot be written');
    const bits = value.bitSize === undefined ? undefined : { bitOffset: value.bitOffset ?? 0, bitSize: value.bitSize };
    const address = value.address;
    const compiled = inMemory(value.type, space, () => address, bits);
    await this.write({ kind: 'memory', space, address, ...bits }, compiled, text, frame);
  }

  private async write(
    place: NonNullable<Evaluated['place']>,
    compiled: Compiled,
    text: string,
    frame: Frame,
  ): Promise<void> {
    const { type } = compiled;
    const bare = strip(type);
    if (place.kind === 'register' && bare.kind === 'array')
      return this.storeBytes(place, await this.lanes(bare, text, frame), frame);
    if (shapeOf(type) === 'float') return this.storeBytes(place, await this.real(type, text, frame), frame);
    if (place.kind === 'memory' && shapeOf(type) === 'aggregate')
      throw new ExpressionError(`a value of type '${type.name}' can't be written as a whole; write one of its parts`);
    const literal = place.kind === 'register' ? registerLiteral(place.part, text) : undefined;
    if (literal === undefined && place.kind === 'register') refuseFraction(place.part, text, this.registers);
    await this.store(place, compiled, literal ?? (await this.integer(text, frame)).value, frame);
  }

  /** All lanes of a vector register: a list with a value for each, or one value for all of them, as gdb does. */
  private async lanes(array: Extract<Type, { kind: 'array' }>, text: string, frame: Frame): Promise<Uint8Array> {
    const count = array.count ?? 0;
    const element = array.element();
    const texts = listLiteral(text) ?? Array<string>(count).fill(text);
    if (texts.length !== count) {
      const example = Array.from({ length: count }, (_, i) => i + 1).join(', ');
      throw new ExpressionError(`expected ${count} values, {${example}}, or one for all lanes, got ${texts.length}`);
    }
    const encode = async (each: string): Promise<Uint8Array> => {
      if (shapeOf(element) === 'float') return this.real(element, each, frame);
      if (isFraction(each))
        throw new ExpressionError(`a lane of type '${element.name}' takes whole numbers, not ${each.trim()}`);
      const { value } = await this.integer(each, frame);
      const bytes = encodeValue(element, value);
      if (!bytes) throw new ExpressionError(`${value} does not fit in ${(strip(element).size ?? 0) * 8} bits`);
      return bytes;
    };
    return Uint8Array.from((await Promise.all(texts.map(encode))).flatMap((bytes) => [...bytes]));
  }

  /** A floating-point number of `type`: a literal, another floating-point value, or the number that an integer expression gives. */
  private async real(type: Type, text: string, frame: Frame): Promise<Uint8Array> {
    const literal = realLiteral(text);
    const value = literal ?? (await this.realExpression(text, frame));
    const bytes = encodeValue(type, value);
    if (!bytes) throw new ExpressionError(`values of type '${type.name}' can't be written as numbers`);
    return bytes;
  }

  private async realExpression(text: string, frame: Frame): Promise<number> {
    const compiled = await this.compileIn(text, frame);
    if (shapeOf(compiled.type) !== 'float') return Number((await this.integer(text, frame)).value);
    const { value } = await this.present(compiled, this.source(frame), frame, {});
    const number = value?.bytes && decodeReal(value.bytes);
    if (number === undefined) throw new ExpressionError(`the value of '${text.trim()}' is not available`);
    return number;
  }

  /**
   * Compiles a condition or a part of a log message. Locals are found relative to registers, as they are at `address`.
   * @param fields the bare names of exit and exception fields have meaning
   */
  async compileCondition(
    text: string,
    options: { address?: bigint; fields: boolean; pointerSize: number },
  ): Promise<Compiled> {
    await this.prepareNames(text);
    const names = this.staticNames(options.pointerSize, options.address);
    if (options.fields) {
      names.isField = (name) => fieldNames.has(name);
      names.suggest = (name) =>
        closest(name, FIELD_NAMES) ?? closest(name, this.symbols.completeNames(name.slice(0, 2), 200));
    }
    const node = parse(text, isTypeName(names));
    const variables = new Map<string, Compiled>();
    for (const name of namesIn(node)) {
      const variable =
        options.fields && fieldNames.has(name) ? undefined : this.variableNamed(name, options.address, 0);
      if (variable) variables.set(name, await this.symbolic(variable, options.address ?? 0n));
    }
    names.variable = (name) => variables.get(name);
    const compiled = compileNode(node, names);
    if (compiled.assigns) throw new ExpressionError("a condition can't assign; did you mean '=='?");
    if (shapeOf(compiled.type) !== 'integer' && shapeOf(compiled.type) !== 'pointer') {
      throw new ExpressionError(`a value of type '${compiled.type.name}' is no number`);
    }
    return compiled;
  }

  /** Text for a compiled value of a condition or log message: synchronous, from integers alone. */
  showInteger(compiled: Compiled, value: bigint): string {
    const type = strip(compiled.type);
    const enumerator = type.kind === 'enum' ? type.enumerators().find((each) => each.value === value) : undefined;
    if (enumerator) return enumerator.name;
    return compiled.hex ? `0x${BigInt.asUintN(64, value).toString(16)}` : value.toString();
  }

  /** A variable's value in a frame. */
  async variable(variable: VariableInfo, frame: Frame, options: FormatOptions = {}): Promise<Evaluated> {
    const compiled = await this.locateVariable(variable, frame);
    return this.present(compiled, this.source(frame), frame, options);
  }

  /** A value with its bytes as text, with what pointers point to. */
  describe(value: Value, space: AddressSpace, cpu: number, hex: boolean): Promise<string> {
    return this.symbols.describeValue(value, hex, {
      read: (address, length) => this.target.readMemory(space, cpu, address, length),
    });
  }

  private source(frame: Frame): AsyncSource {
    const { cpu, level } = frame.activation;
    return {
      register: async (name) => {
        if (level === 0) return this.target.readRegister(cpu, name);
        const value = await frame.activation.register(name);
        if (value === undefined)
          throw new ExpressionError(`$${name} of this frame is not known: its callees did not keep it`);
        return value;
      },
      read: (space, address, length) => this.target.readMemory(space, cpu, address, length),
      field: (name) => exitField(this.target.lastExit(cpu), name),
      icount: () => this.target.icount(),
    };
  }

  /** What names of programs mean takes reading all of their debug information once; registers and numbers do without. */
  private async prepareNames(text: string): Promise<void> {
    if (/[A-Za-z_]/.test(text.replace(/\$\w+|\b\d\w*/g, ''))) await this.symbols.prepareNames();
  }

  private staticNames(pointerSize: number, pc?: bigint): Names {
    const constants = this.target.constants?.();
    return {
      registers: this.registers,
      pointerSize,
      symbol: (name) => this.symbols.findSymbol(name)?.address,
      type: (name) => this.symbols.findType(name),
      constant: (name) => constants?.get(name) ?? this.symbols.findEnumerator(name, pc),
      suggest: (name) => closest(name, this.symbols.completeNames(name.slice(0, 2), 200)),
    };
  }

  private async compileIn(text: string, frame: Frame): Promise<Compiled> {
    await this.prepareNames(text);
    const rest = rests();
    const { bitness, lookup } = frame.activation;
    const names = this.staticNames(bitness === 64 ? 8 : 4, lookup);
    names.type = (name) => this.symbols.findType(name, lookup);
    const inScope = this.scopeOf(frame);
    const isVariable = (name: string): boolean => inScope.some((variable) => variable.name === name);
    const node = parse(text, (name) => !isVariable(name) && isTypeName(names)(name));
    const variables = new Map<string, Compiled>();
    for (const name of namesIn(node)) {
      const variable = inScope.find((each) => each.name === name) ?? this.symbols.findVariable(name, lookup);
      if (variable) variables.set(name, await this.locateVariable(variable, frame));
      await rest();
    }
    names.variable = (name) => variables.get(name);
    names.suggest = (name) =>
      closest(name, [...inScope.map((each) => each.name), ...this.symbols.completeNames(name.slice(0, 2), 200)]);
    return compileNode(node, names);
  }

  scopeOf(frame: Frame): VariableInfo[] {
    const scopes = this.symbols.scopeVariables(frame.activation.lookup, frame.inlineLevel);
    return [...scopes.locals, ...scopes.arguments];
  }

  private variableNamed(name: string, address: bigint | undefined, frame: number): VariableInfo | undefined {
    if (address !== undefined) {
      const scopes = this.symbols.scopeVariables(address, frame);
      const local = [...scopes.locals, ...scopes.arguments].find((variable) => variable.name === name);
      if (local) return local;
    }
    return this.symbols.findVariable(name, address);
  }

  private async locateVariable(variable: VariableInfo, frame: Frame): Promise<Compiled> {
    const { context, bitness } = frame.activation;
    const location = await this.symbols.evaluateLocation(variable, context);
    return this.atLocation(variable, location, context, bitness);
  }

  private async atLocation(
    variable: VariableInfo,
    location: Location,
    context: FrameContext,
    bitness: 16 | 32 | 64,
  ): Promise<Compiled> {
    const { type, name } = variable;
    if (location.kind === 'memory') return inMemory(type, 'virtual', () => location.address);
    if (location.kind === 'optimized out') {
      const fail = (): never => {
        throw new ExpressionError(`'${name}' is optimized out here (${location.reason})`);
      };
      return { type, value: fail, space: 'virtual', hex: false };
    }
    const size = strip(type).size ?? 0;
    if (location.kind === 'register') {
      const part = this.registers.find(registerName(bitness === 64 ? x86_64 : i386, location.register) ?? '');
      if (part && size * 8 <= 64 && shapeOf(type) !== 'aggregate') {
        const narrowed: RegisterPart = { ...part, width: Math.min(part.width, size * 8) };
        const signed = inMemory(type, 'virtual', () => 0n);
        const value = (access: Access): bigint => {
          const raw = access.register(part.name) >> BigInt(part.shift);
          return signed.value({ ...access, memory: () => raw, register: () => 0n, field: () => undefined, icount: 0 });
        };
        return { type, value, place: { kind: 'register', part: narrowed }, space: 'virtual', hex: signed.hex };
      }
    }
    const bytes = await readLocation(location, size, context);
    const proxy = inMemory(type, 'virtual', () => 0n);
    const raw = bytes && bytes.length <= 8 ? toNumber(bytes) : undefined;
    const value = (): bigint => {
      if (raw === undefined) throw new ExpressionError(`'${name}' is no number`);
      return proxy.value({ memory: () => raw, register: () => 0n, field: () => undefined, icount: 0 });
    };
    return { type, value, space: 'virtual', hex: proxy.hex, bytes };
  }

  /**
   * Where a variable is, as a function of registers. Locations of compiled code are almost always "a register plus a constant": two
   * evaluations with made-up register values tell which.
   */
  private async symbolic(variable: VariableInfo, pc: bigint): Promise<Compiled> {
    const probe = (register: (number: number) => bigint): Promise<Location> =>
      this.symbols.evaluateLocation(variable, {
        pc,
        register: async (number) => register(number),
        read: async () => new Uint8Array(0),
      });
    const UNIT = 40n;
    const zero = await probe(() => 0n);
    const { model } = variable;
    if (zero.kind === 'register') {
      const part = this.registers.find(registerName(model, zero.register) ?? '');
      if (part) return this.atLocation(variable, zero, undefined as never, model.addressSize === 8 ? 64 : 32);
    }
    if (zero.kind === 'memory') {
      const moved = await probe((number) => BigInt(number + 1) << UNIT);
      const difference = moved.kind === 'memory' ? BigInt.asUintN(64, moved.address - zero.address) : -1n;
      const { address } = zero;
      if (difference === 0n) return inMemory(variable.type, 'virtual', () => address);
      const number = Number(difference >> UNIT) - 1;
      const part = this.registers.find(registerName(model, number) ?? '');
      if (part && difference === BigInt(number + 1) << UNIT) {
        const offset = address;
        const register = part.name;
        return inMemory(variable.type, 'virtual', (access) => BigInt.asUintN(64, access.register(register) + offset));
      }
    }
    throw new ExpressionError(
      `'${variable.name}' has no fixed place in this function and can't be used in a condition`,
    );
  }

  private locate(compiled: Compiled, access: Access): Evaluated['place'] {
    const { place } = compiled;
    if (!place) return undefined;
    if (place.kind === 'register') return place;
    return { ...place, address: BigInt.asUintN(64, place.address(access)) };
  }

  private async present(
    compiled: Compiled,
    source: AsyncSource,
    frame: Frame,
    options: FormatOptions,
  ): Promise<Evaluated> {
    const { type, space } = compiled;
    const shape = shapeOf(type);
    const place = await evaluateOver(source, (access) => this.locate(compiled, access));
    const result: Evaluated = {
      text: '',
      type: type.name,
      space: place?.kind === 'memory' ? place.space : space,
      place,
    };
    if (place?.kind === 'memory') result.memoryReference = showAddress(place.space, place.address);

    const { cpu } = frame.activation;
    const wide = strip(type).kind === 'base' && (strip(type).size ?? 0) > 8;
    if (shape === 'integer' || shape === 'pointer' || (wide && place?.kind === 'register')) {
      const value = await evaluateOver(source, compiled.value);
      result.integer = value;
      if (place?.kind === 'register' && place.part.info.name !== undefined && compiled.hex && shape !== 'pointer') {
        result.text = this.registerText(place.part, value);
        result.memoryReference = showAddress('virtual', value);
        return result;
      }
      const size = strip(type).size ?? 8;
      const bits =
        place?.kind === 'memory' && place.bitSize !== undefined ? { bitOffset: 0, bitSize: place.bitSize } : {};
      const address = place?.kind === 'memory' ? place.address : undefined;
      result.value = {
        type,
        bytes: toBytes(BigInt.asUintN(size * 8, value), size),
        ...(address === undefined ? {} : { address }),
        ...bits,
      };
      if (shape === 'integer' && compiled.hex) {
        const symbol = space === 'virtual' && size === 8 ? this.symbolOf(value) : undefined;
        result.text = `0x${BigInt.asUintN(size * 8, value).toString(16)}${symbol ? ` <${symbol}>` : ''}`;
        result.memoryReference ??= showAddress(space, value);
      } else {
        result.text = await this.describe(result.value, space, cpu, options.hex ?? false);
        if (shape === 'pointer') {
          result.memoryReference = showAddress(space, value);
          result.space = space;
        }
      }
      return result;
    }
    if (place?.kind === 'memory') {
      const size = Math.min(strip(type).size ?? 0, MAX_AGGREGATE);
      const bytes = await this.target.readMemory(place.space, cpu, place.address, size);
      result.value = { type, bytes: bytes.length >= size ? bytes : undefined, address: place.address };
      if (shape === 'none') result.text = `${showAddress(place.space, place.address)} ${type.name}`;
    } else if (compiled.bytes) {
      result.value = { type, bytes: compiled.bytes };
    } else if (place?.kind === 'register') {
      const raw = await source.register(place.part.name);
      result.value = { type, bytes: toBytes(partOf(place.part, raw), strip(type).size ?? 0) };
    } else {
      await evaluateOver(source, compiled.value); // says why there is no value
    }
    result.text ||= result.value
      ? await this.describe(result.value, result.space, cpu, options.hex ?? false)
      : '<not available>';
    return result;
  }

  /** Full-width hex, and what the register means or the symbol that it points to. */
  registerText(part: RegisterPart, value: bigint): string {
    const digits = Math.ceil(part.width / 4);
    const hex = `0x${BigInt.asUintN(part.width, value).toString(16).padStart(digits, '0')}`;
    const whole = part.shift === 0 && part.width === part.info.width;
    const meaning = whole ? part.info.describe?.(value) : undefined;
    const symbol = meaning === undefined && part.width === 64 ? this.symbolOf(value) : undefined;
    return meaning ? `${hex} ${meaning}` : symbol ? `${hex} <${symbol}>` : hex;
  }

  /** Name of an address; a label without a size says nothing about what is far behind it. */
  private symbolOf(address: bigint): string | undefined {
    const found = this.symbols.symbolAt(address);
    if (!found || (found.size === 0n && found.offset >= FAR_FROM_LABEL)) return undefined;
    return this.symbols.describeAddress(address);
  }

  private async store(
    place: NonNullable<Evaluated['place']>,
    compiled: Compiled,
    value: bigint,
    frame: Frame,
  ): Promise<void> {
    const size = strip(compiled.type).size ?? 8;
    const bits = place.kind === 'register' ? place.part.width : (place.bitSize ?? size * 8);
    const fits = value < 1n << BigInt(bits) && value >= -(1n << BigInt(bits - 1));
    if (!fits) throw new ExpressionError(`${value} does not fit in ${bits} bits`);
    if (place.kind === 'register') {
      await this.writeRegister(place.part, BigInt.asUintN(bits, value), frame);
    } else if (place.bitSize !== undefined) {
      const bitOffset = place.bitOffset ?? 0;
      const length = Math.ceil((bitOffset + place.bitSize) / 8);
      const old = await this.target.readMemory(place.space, frame.activation.cpu, place.address, length);
      if (old.length < length)
        throw new ExpressionError(`can't read ${length} bytes at ${showAddress(place.space, place.address)}`);
      const mask = ((1n << BigInt(place.bitSize)) - 1n) << BigInt(bitOffset);
      const merged = (toNumber(old) & ~mask) | (BigInt.asUintN(place.bitSize, value) << BigInt(bitOffset));
      await this.storeBytes(place, toBytes(merged, length), frame);
    } else {
      await this.storeBytes(place, toBytes(BigInt.asUintN(size * 8, value), size), frame);
    }
  }

  private async storeBytes(place: NonNullable<Evaluated['place']>, bytes: Uint8Array, frame: Frame): Promise<void> {
    if (bytes.length === 0) throw new ExpressionError('expected a number');
    if (place.kind === 'register') return this.writeRegister(place.part, toNumber(bytes), frame);
    const written = await this.target.writeMemory(place.space, frame.activation.cpu, place.address, bytes);
    if (written < bytes.length) {
      throw new ExpressionError(
        `can't write ${bytes.length} bytes at ${showAddress(place.space, place.address)}: not mapped`,
      );
    }
  }

  private async writeRegister(part: RegisterPart, value: bigint, frame: Frame): Promise<void> {
    if (!part.info.writable) throw new ExpressionError(`$${part.info.name} is read-only`);
    if (frame.activation.level > 0)
      throw new ExpressionError("registers of a caller's frame can't be written; select the innermost frame");
    const { cpu } = frame.activation;
    let whole = value;
    if (part.width < part.info.width) {
      const old = await this.target.readRegister(cpu, part.name);
      const mask = ((1n << BigInt(part.width)) - 1n) << BigInt(part.shift);
      whole = (old & ~mask) | (value << BigInt(part.shift));
    }
    await this.target.writeRegister(cpu, part.name, whole);
  }
}

/** The bits of a part in its whole register. */
function partOf(part: RegisterPart, whole: bigint): bigint {
  return BigInt.asUintN(part.width, whole >> BigInt(part.shift));
}

function toNumber(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

/** Where the '=' of an assignment stands: the first that is no part of '==', '<=', '>=' or '!='. */
function assignmentAt(text: string): number {
  return /(?<![=<>!])=(?!=)/.exec(text)?.index ?? text.length;
}

/** Fields of the last exit that every exit has, for watch expressions. */
function exitField(exit: ExitRecord | undefined, name: string): bigint | undefined {
  if (!exit) return undefined;
  const fields: Record<string, bigint> = {
    reason: BigInt(exit.reason),
    qualification: exit.qualification,
    length: BigInt(exit.instructionLength),
    gla: exit.guestLinear,
    gpa: exit.guestPhysical,
    rip: exit.rip,
  };
  return fields[name];
}
