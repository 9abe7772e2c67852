/** Scopes and variables: what the variables view asks for, fetched only when it is asked for. */
import type { DebugProtocol } from '@vscode/debugprotocol';
import { messageOf } from './errors';
import type { Evaluated, Evaluator } from './evaluate';
import { showAddress } from './expression/compile';
import { ExpressionError } from './expression/tokens';
import type { Frame } from './stack';
import type { SymbolStore, Value } from './symbols/symbolStore';
import { strip } from './symbols/dwarf/types';
import { childCount } from './symbols/values';
import type { AddressSpace, DecodedField, RegisterGroup, RegisterInfo, Target } from './target';

type Container =
  | { kind: 'locals' | 'arguments'; frame: Frame }
  | { kind: 'registers'; group: RegisterGroup; frame: Frame }
  | { kind: 'fields'; fields: () => DecodedField[] }
  | { kind: 'value'; value: Value; space: AddressSpace; frame: Frame; evaluateName?: string };

export interface VariablesRequest {
  start?: number;
  count?: number;
  filter?: 'indexed' | 'named';
  hex?: boolean;
}

const GROUPS: RegisterGroup[] = ['Registers', 'Segments', 'Control', 'MSRs', 'FPU & SIMD'];
const MAX_PAGE = 1000;
/** Larger values are not opened at once. */
const MAX_CHILD_BYTES = 1 << 20;

export class Variables {
  private readonly containers = new Map<number, Container>();
  private nextReference = 1;

  constructor(
    private readonly target: Target,
    private readonly symbols: SymbolStore,
    private readonly evaluator: Evaluator,
  ) {}

  /** Forgets all references: the machine ran. They are never used again. */
  clear(): void {
    this.containers.clear();
  }

  scopes(frame: Frame): DebugProtocol.Scope[] {
    const { cpu, lookup, level } = frame.activation;
    const scopes: DebugProtocol.Scope[] = [];
    const add = (name: string, container: Container, more: Partial<DebugProtocol.Scope> = {}): void => {
      scopes.push({ name, variablesReference: this.reference(container), expensive: false, ...more });
    };
    const inScope = this.symbols.scopeVariables(lookup, frame.inlineLevel);
    if (inScope.locals.length > 0) add('Locals', { kind: 'locals', frame }, { presentationHint: 'locals' });
    if (inScope.arguments.length > 0) add('Arguments', { kind: 'arguments', frame }, { presentationHint: 'arguments' });
    const infos = this.target.registerInfo();
    for (const group of GROUPS) {
      const count = infos.filter((info) => info.group === group).length;
      if (count === 0 || (level > 0 && group !== 'Registers')) continue;
      const expensive = group !== 'Registers' || inScope.locals.length + inScope.arguments.length > 0;
      add(
        group,
        { kind: 'registers', group, frame },
        { presentationHint: 'registers', expensive, namedVariables: count },
      );
    }
    if (this.target.capabilities.exits && level === 0) {
      add('Last VM exit', { kind: 'fields', fields: () => this.lastExit(cpu) }, { expensive: true });
      add('VMCS', { kind: 'fields', fields: () => this.target.vmcs(cpu) }, { expensive: true });
    }
    const offered = level === 0 ? this.target.guestInterface?.(cpu) : undefined;
    if (offered) add(offered.name, { kind: 'fields', fields: () => offered.fields() }, { expensive: true });
    return scopes;
  }

  private lastExit(cpu: number): DecodedField[] {
    const exit = this.target.lastExit(cpu);
    if (!exit) return [];
    return [{ name: 'Exit', value: exit.name, text: exit.summary }, ...this.target.describeExit(exit)];
  }

  /** Children of a reference. Throws an Error when it is not (or no longer) known. */
  async children(reference: number, request: VariablesRequest): Promise<DebugProtocol.Variable[]> {
    const container = this.container(reference);
    const hex = request.hex ?? false;
    if (container.kind !== 'registers' && container.kind !== 'fields') await this.symbols.prepareNames();
    switch (container.kind) {
      case 'locals':
      case 'arguments': {
        const { frame } = container;
        const scopes = this.symbols.scopeVariables(frame.activation.lookup, frame.inlineLevel);
        const shadowed = new Set<string>();
        const result: DebugProtocol.Variable[] = [];
        for (const variable of container.kind === 'locals' ? scopes.locals : scopes.arguments) {
          const evaluated = await this.evaluator.variable(variable, frame, { hex }).catch((error): Evaluated => ({
            text: `<${messageOf(error)}>`,
            type: variable.type.name,
            space: 'virtual',
          }));
          const shown = shadowed.has(variable.name) ? undefined : variable.name;
          shadowed.add(variable.name);
          result.push(this.variable(variable.name, evaluated, frame, shown));
        }
        return result;
      }
      case 'registers': {
        const infos = this.target.registerInfo().filter((info) => info.group === container.group);
        return Promise.all(infos.map((info) => this.register(info, container.frame)));
      }
      case 'fields':
        return container.fields().map((field) => this.field(field));
      case 'value':
        return this.valueChildren(container, request);
    }
  }

  /** Writes a child of a reference by name; returns how it looks then. Throws an Error that says why it can't be written. */
  async set(reference: number, name: string, text: string, hex: boolean): Promise<DebugProtocol.Variable> {
    const container = this.container(reference);
    switch (container.kind) {
      case 'registers': {
        const { frame } = container;
        return this.variable(name, await this.evaluator.assign(`$${name}`, text, frame, { hex }), frame, `$${name}`);
      }
      case 'locals':
      case 'arguments': {
        const { frame } = container;
        return this.variable(name, await this.evaluator.assign(name, text, frame, { hex }), frame, name);
      }
      case 'fields':
        throw new ExpressionError(`'${name}' is read-only`);
      case 'value': {
        const child = await this.childNamed(container, name);
        await this.evaluator.assignValue(child, container.space, text, container.frame);
        const again = await this.childNamed(container, name, true);
        return this.child(container, name, again, hex);
      }
    }
  }

  /** Where a child of a reference lives, for data breakpoints; undefined when it is not in memory. */
  async placeOf(
    reference: number,
    name: string,
  ): Promise<{ space: AddressSpace; address: bigint; length: number; frame: Frame } | undefined> {
    const container = this.container(reference);
    if (container.kind === 'value') {
      const child = await this.childNamed(container, name);
      const length = strip(child.type).size ?? 0;
      if (child.address === undefined || length === 0) return undefined;
      return { space: container.space, address: child.address, length, frame: container.frame };
    }
    if (container.kind !== 'locals' && container.kind !== 'arguments') return undefined;
    const { frame } = container;
    return this.placeOfExpression(name, frame);
  }

  async placeOfExpression(
    text: string,
    frame: Frame,
  ): Promise<{ space: AddressSpace; address: bigint; length: number; frame: Frame } | undefined> {
    const { place, value } = await this.evaluator.evaluate(text, frame);
    if (place?.kind !== 'memory') return undefined;
    return { space: place.space, address: place.address, length: (value && strip(value.type).size) || 1, frame };
  }

  /** How an evaluated expression looks, with a reference when it has children. */
  variable(name: string, evaluated: Evaluated, frame: Frame, evaluateName?: string): DebugProtocol.Variable {
    const { value, space, text, type, memoryReference } = evaluated;
    const result: DebugProtocol.Variable = { name, value: text, type, variablesReference: 0 };
    if (evaluateName) result.evaluateName = evaluateName;
    if (memoryReference) result.memoryReference = memoryReference;
    if (value) this.addChildren(result, { kind: 'value', value, space, frame, evaluateName });
    return result;
  }

  private addChildren(result: DebugProtocol.Variable, container: Extract<Container, { kind: 'value' }>): void {
    const { named, indexed } = childCount(container.value.type);
    if (named + indexed === 0) return;
    result.variablesReference = this.reference(container);
    if (named) result.namedVariables = named;
    if (indexed) result.indexedVariables = indexed;
  }

  private async register(info: RegisterInfo, frame: Frame): Promise<DebugProtocol.Variable> {
    const result: DebugProtocol.Variable = {
      name: info.name,
      value: '',
      variablesReference: 0,
      evaluateName: `$${info.name}`,
    };
    if (!info.writable) result.presentationHint = { attributes: ['readOnly'] };
    try {
      const { cpu, level } = frame.activation;
      const value =
        level === 0 ? await this.target.readRegister(cpu, info.name) : await frame.activation.register(info.name);
      if (value === undefined) return { ...result, value: '<not known in this frame>' };
      result.value = this.evaluator.registerText({ name: info.name, shift: 0, width: info.width, info }, value);
      result.type = `${info.width} bits`;
      if (info.group === 'Registers' && info.width === 64 && info.name !== 'rflags')
        result.memoryReference = showAddress('virtual', value);
    } catch (error) {
      result.value = `<${messageOf(error)}>`;
    }
    return result;
  }

  private field(field: DecodedField): DebugProtocol.Variable {
    const { name, value, text, children } = field;
    const shown = [value, text].filter(Boolean).join(' ');
    const result: DebugProtocol.Variable = {
      name,
      value: shown,
      variablesReference: 0,
      presentationHint: { attributes: ['readOnly'] },
    };
    if (children && children.length > 0) {
      result.variablesReference = this.reference({ kind: 'fields', fields: () => children });
      result.namedVariables = children.length;
    }
    return result;
  }

  private async valueChildren(
    container: Extract<Container, { kind: 'value' }>,
    request: VariablesRequest,
  ): Promise<DebugProtocol.Variable[]> {
    const start = Math.max(0, request.start ?? 0);
    const count = Math.min(request.count || MAX_PAGE, MAX_PAGE);
    const children = await this.symbols.readChildren(container.value, this.reader(container), start, count);
    return Promise.all(children.map(({ name, value }) => this.child(container, name, value, request.hex ?? false)));
  }

  private reader(container: Extract<Container, { kind: 'value' }>): {
    read: (address: bigint, length: number) => Promise<Uint8Array>;
  } {
    const { space, frame } = container;
    const { cpu } = frame.activation;
    return {
      read: (address, length) => this.target.readMemory(space, cpu, address, Math.min(length, MAX_CHILD_BYTES)),
    };
  }

  private async child(
    parent: Extract<Container, { kind: 'value' }>,
    name: string,
    value: Value,
    hex: boolean,
  ): Promise<DebugProtocol.Variable> {
    const { space, frame } = parent;
    const text = await this.evaluator.describe(value, space, frame.activation.cpu, hex);
    const evaluateName = childExpression(parent, name);
    const memoryReference = value.address === undefined ? undefined : showAddress(space, value.address);
    const result: DebugProtocol.Variable = {
      name,
      value: text,
      type: value.type.name,
      variablesReference: 0,
      evaluateName,
      memoryReference,
    };
    this.addChildren(result, { kind: 'value', value, space, frame, evaluateName });
    return result;
  }

  private async childNamed(
    container: Extract<Container, { kind: 'value' }>,
    name: string,
    fresh = false,
  ): Promise<Value> {
    const parent = fresh ? { ...container.value, bytes: undefined } : container.value;
    if (fresh && strip(parent.type).kind === 'pointer') parent.bytes = container.value.bytes;
    const index = /^\[(\d+)\]$/.exec(name);
    const page = await this.symbols.readChildren(
      parent,
      this.reader(container),
      index ? Number(index[1]) : 0,
      index ? 1 : MAX_PAGE,
    );
    const found = page.find((child) => child.name === name);
    if (!found) throw new ExpressionError(`no '${name}' here`);
    return found.value;
  }

  private reference(container: Container): number {
    this.containers.set(this.nextReference, container);
    return this.nextReference++;
  }

  private container(reference: number): Container {
    const container = this.containers.get(reference);
    if (!container) throw new Error('these variables belong to an earlier stop');
    return container;
  }
}

/** The expression of a child, for watches: `page->flags`, `table[3]`, `*pointer`. */
function childExpression(parent: Extract<Container, { kind: 'value' }>, name: string): string | undefined {
  const of = parent.evaluateName;
  if (!of) return undefined;
  const simple = /^[\w.$>[\]-]+$/.test(of) ? of : `(${of})`;
  if (/^\[\d+\]$/.test(name)) return `${simple}${name}`;
  if (name.startsWith('*')) return `*${simple}`;
  if (!/^\w+$/.test(name)) return simple; // an anonymous struct: its members are the parent's
  return `${simple}${strip(parent.value.type).kind === 'pointer' ? '->' : '.'}${name}`;
}
