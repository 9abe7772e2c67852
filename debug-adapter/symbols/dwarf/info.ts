import { atOnce } from '../../introspection/slices';
import { BoundedCache } from '../boundedCache';
import { SharedWork } from '../sharedWork';
import type { Abbreviation } from './abbrev';
import { Attribute, containers, hasNestedFunctions, LANGUAGE_ASSEMBLER, Tag, UnitType } from './constants';
import { AttributeValue } from './forms';
import { dieRanges, isPlaced, ListBudget } from './lists';
import { NameIndex, NameKind } from './names';
import { Cursor } from './reader';
import { AddressRange, DebugSections, RangeMap } from './sections';
import { Die, messageOf, readUnits, StringReader, Unit } from './unit';

/** A function with code: an out-of-line DW_TAG_subprogram. Addresses as linked. */
export interface FunctionEntry {
  unit: Unit;
  die: number;
  name: string;
  /** Where it is entered. */
  entry: bigint;
  ranges: AddressRange[];
}

/** A lexical scope of a function: its body, a block, or another function inlined into it. */
export interface Scope {
  kind: 'function' | 'block' | 'inlined';
  die: Die;
  ranges: AddressRange[];
  /** Name of the function, for the kinds 'function' and 'inlined'. */
  name: string;
  parent: Scope | undefined;
  children: Scope[];
  /** DIEs of the scope's own variables and parameters, in source order. */
  variables: Die[];
}

/** The functions of one unit. */
interface FunctionIndex {
  byAddress: RangeMap<FunctionEntry>;
  byName: Map<string, FunctionEntry[]>;
}

/** What else one unit declares at its outermost levels. */
interface UnitNames {
  /** Defining DIEs by name. */
  variables: Map<string, number[]>;
  types: Map<string, number[]>;
  /** DIEs of all enumerations, also those without a name. */
  enumerations: number[];
}

const MAX_REFERENCES = 8;
const MAX_SCOPE_DEPTH = 64;
const MAX_SCOPES = 20_000;

const aggregates = new Set<number>([Tag.structureType, Tag.classType, Tag.unionType, Tag.enumerationType]);
const namedTypes = new Set<number>([...aggregates, Tag.typedef, Tag.baseType]);

/** Bytes of units whose functions are kept, and of those whose names are: names take some ten times as much. */
const FUNCTION_BYTES = 8 << 20;
const NAME_BYTES = 2 << 20;
/** DIEs of functions' bodies that are kept: some 900 bytes each, and a stack has thousands. */
const SCOPE_DIES = 10_000;

/** The debugging information entries of a file, read unit by unit on demand. */
export class DebugInfo {
  readonly strings: StringReader;
  private unitList: Unit[] | undefined;
  private readonly unitsRead = new SharedWork(() => this.readUnits());
  private readonly unitsMapped = new SharedWork(() => this.mapUnits());
  private unitOffsets = new Float64Array(0);
  private readonly functions: BoundedCache<Unit, FunctionIndex>;
  private readonly unitNames: BoundedCache<Unit, UnitNames>;
  private readonly names: NameIndex;
  /** Trees of functions' blocks and inlined functions. */
  private readonly scopes: BoundedCache<FunctionEntry, Scope>;
  private readonly unitMap = new RangeMap<Unit>();
  private signatures: Map<bigint, Unit> | undefined;
  private readonly budget: ListBudget;

  constructor(readonly sections: DebugSections) {
    this.strings = new StringReader(sections);
    this.names = new NameIndex(this);
    const bytes = (_: unknown, { offset, end }: Unit): number => end - offset;
    this.functions = new BoundedCache(FUNCTION_BYTES, (unit) => this.indexFunctions(unit), bytes);
    this.unitNames = new BoundedCache(NAME_BYTES, (unit) => this.indexNames(unit), bytes);
    this.scopes = new BoundedCache(SCOPE_DIES, (entry) => this.buildScope(entry), diesOf);
    const lists = sections.size('.debug_ranges') + sections.size('.debug_rnglists');
    // Every list may be read once for its own DIE, with room for sharing.
    this.budget = { left: lists * 4 + 100_000 };
  }

  get units(): Unit[] {
    if (!this.unitList) atOnce(this.unitsRead.run());
    return this.unitList!;
  }

  private *readUnits(): Generator<void, void> {
    const units = yield* readUnits(this.sections, this.strings);
    this.unitOffsets = Float64Array.from(units, (unit) => unit.offset);
    this.unitList = units;
  }

  /** Reads what lookups by address need: the headers of units and which code is whose. */
  *prepare(): Generator<void, void> {
    yield* this.unitsRead.run();
    yield* this.unitsMapped.run();
  }

  /** Reads what lookups by name need: the outermost entries of all units. */
  *prepareNames(): Generator<void, void> {
    yield* this.unitsRead.run();
    yield* this.names.prepare();
  }

  /** Whether `prepareNames` has nothing left to do. */
  get namesReady(): boolean {
    return this.names.ready;
  }

  /** The unit that holds a DIE offset. */
  unitOf(offset: number): Unit | undefined {
    const { units } = this;
    let low = 0;
    let high = this.unitOffsets.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.unitOffsets[middle]! <= offset) low = middle + 1;
      else high = middle;
    }
    const unit = units[low - 1];
    return unit && offset < unit.end ? unit : undefined;
  }

  /** Offset of the DIE that a reference attribute leads to. */
  targetOffset(unit: Unit, value: AttributeValue | undefined): number | undefined {
    if (value?.class === 'signature') {
      if (!this.signatures) {
        this.signatures = new Map();
        for (const each of this.units) if (each.signature !== undefined) this.signatures.set(each.signature, each);
      }
      return this.signatures.get(value.value)?.typeOffset;
    }
    return unit.reference(value);
  }

  /** Throws a DwarfError when there is no DIE at the offset. */
  die(offset: number): Die | undefined {
    return this.unitOf(offset)?.die(offset);
  }

  /** An attribute of a DIE or of the abstract instance or declaration that it completes, and which DIE had it. */
  attribute(die: Die, attribute: number): { value: AttributeValue; die: Die } | undefined {
    let current: Die | undefined = die;
    for (let i = 0; current && i < MAX_REFERENCES; i++) {
      const value = current.attributes.get(attribute);
      if (value) return { value, die: current };
      const origin: AttributeValue | undefined =
        current.attributes.get(Attribute.abstractOrigin) ?? current.attributes.get(Attribute.specification);
      const offset = this.targetOffset(current.unit, origin);
      current = offset === undefined ? undefined : this.die(offset);
    }
    return undefined;
  }

  name(die: Die): string {
    const found = this.attribute(die, Attribute.name);
    return (found && found.die.unit.string(found.value)) ?? '';
  }

  /** A constant attribute as number, with the unit whose file numbers it may refer to. */
  number(die: Die, attribute: number): { value: number; unit: Unit } | undefined {
    const found = this.attribute(die, attribute);
    const value = found && found.die.unit.number(found.value);
    return value === undefined ? undefined : { value, unit: found!.die.unit };
  }

  /** The unit whose code lies at an address as linked. */
  unitAt(address: bigint): Unit | undefined {
    atOnce(this.prepare());
    return this.unitMap.find(address)?.value;
  }

  private *mapUnits(): Generator<void, void> {
    const map = this.unitMap;
    const covered = this.readAddressRanges(map);
    for (const unit of this.units) {
      yield;
      if (covered.has(unit) || unit.type === UnitType.type || unit.type === UnitType.partial) continue;
      try {
        const ranges = dieRanges(unit.root, this.budget);
        for (const [low, high] of ranges) map.add(low, high, unit);
        // Some producers leave out the unit's own ranges: its functions have them.
        if (ranges.length === 0 && unit.root.hasChildren && unit.lineOffset !== undefined) {
          for (const list of this.functions.get(unit).byName.values()) {
            for (const entry of list) for (const [low, high] of entry.ranges) map.add(low, high, unit);
          }
        }
        if (unit.root.attributes.has(Attribute.dwoName) || unit.root.attributes.has(Attribute.gnuDwoName)) {
          this.sections.warnings.add(
            `${unit.name}: its debug information is in a separate .dwo file, which is not read`,
          );
        }
      } catch (error) {
        this.sections.warnings.add(messageOf(error));
      }
    }
    yield* map.prepare();
  }

  /** DWARF 5, 6.1.2 "Lookup by Address". Returns the units that the section speaks of. */
  private readAddressRanges(map: RangeMap<Unit>): Set<Unit> {
    const covered = new Set<Unit>();
    const data = this.sections.data('.debug_aranges');
    const cursor = new Cursor(data, 0, data.length, '.debug_aranges');
    try {
      while (cursor.remaining > 0) {
        const start = cursor.position;
        const { end, is64 } = cursor.initialLength();
        const part = new Cursor(data, cursor.position, end, '.debug_aranges');
        cursor.position = end;
        if (part.u16() !== 2) continue;
        const unit = this.unitOf(part.offset(is64));
        const addressSize = part.u8();
        const segmentSize = part.u8();
        if (!unit || segmentSize !== 0 || (addressSize !== 4 && addressSize !== 8)) continue;
        const padding = (part.position - start) % (2 * addressSize);
        if (padding > 0) part.skip(2 * addressSize - padding);
        covered.add(unit);
        while (part.remaining >= 2 * addressSize) {
          const low = part.unsigned(addressSize);
          const length = part.unsigned(addressSize);
          if (low === 0n && length === 0n) break;
          if (length > 0n && isPlaced(unit, low)) map.add(low, low + length, unit);
        }
      }
    } catch (error) {
      this.sections.warnings.add(messageOf(error));
    }
    return covered;
  }

  private indexFunctions(unit: Unit): FunctionIndex {
    const index: FunctionIndex = { byAddress: new RangeMap(), byName: new Map() };
    this.forEachOuter(
      unit,
      (tag) => tag === Tag.subprogram,
      (die) => {
        if (die.attributes.has(Attribute.declaration)) return;
        const ranges = dieRanges(die, this.budget);
        if (ranges.length === 0) return;
        const low = unit.address(die.attributes.get(Attribute.entryPc) ?? die.attributes.get(Attribute.lowPc));
        const entry = { unit, die: die.offset, name: this.name(die), entry: low ?? ranges[0]![0], ranges };
        for (const [from, to] of ranges) index.byAddress.add(from, to, entry);
        append(index.byName, entry.name, entry);
      },
    );
    return index;
  }

  private indexNames(unit: Unit): UnitNames {
    const index: UnitNames = { variables: new Map(), types: new Map(), enumerations: [] };
    this.forEachOuter(
      unit,
      (tag) => tag === Tag.variable || namedTypes.has(tag),
      (die) => {
        if (die.tag === Tag.variable) {
          const hasPlace = die.attributes.has(Attribute.location) || die.attributes.has(Attribute.constValue);
          if (hasPlace) append(index.variables, this.name(die), die.offset);
        } else if (!die.attributes.has(Attribute.declaration)) {
          const name = unit.string(die.attributes.get(Attribute.name));
          if (name) append(index.types, name, die.offset);
          if (die.tag === Tag.enumerationType) index.enumerations.push(die.offset);
        }
      },
    );
    return index;
  }

  /** Calls `visit` for the outermost DIEs of a unit whose tag is wanted, also for those in namespaces and, in C++, in types. */
  private forEachOuter(unit: Unit, wanted: (tag: number) => boolean, visit: (die: Die) => void): void {
    try {
      this.walkOuter(unit, wanted, visit);
    } catch (error) {
      this.sections.warnings.add(messageOf(error));
    }
  }

  private walkOuter(unit: Unit, wanted: (tag: number) => boolean, visit: (die: Die) => void): void {
    const nested = hasNestedFunctions(unit.language);
    const cursor = unit.cursor(unit.root.next);
    let depth = 1;
    while (unit.root.hasChildren && depth > 0 && cursor.remaining > 0) {
      const offset = cursor.position + unit.base;
      const abbreviation = unit.abbreviation(cursor);
      if (!abbreviation) {
        depth--;
        continue;
      }
      const { tag } = abbreviation;
      if (wanted(tag)) {
        const start = cursor.position;
        const die = unit.readAttributes(cursor, offset, abbreviation);
        cursor.position = start;
        try {
          visit(die);
        } catch (error) {
          this.sections.warnings.add(messageOf(error));
        }
      }
      if (abbreviation.hasChildren && (containers.has(tag) || (nested && aggregates.has(tag)))) {
        unit.skipAttributes(cursor, abbreviation);
        depth++;
      } else this.skipEntry(unit, cursor, offset, abbreviation);
    }
  }

  /** The out-of-line function whose code lies at an address as linked. */
  functionAt(address: bigint): FunctionEntry | undefined {
    const unit = this.unitAt(address);
    return unit && this.functions.get(unit).byAddress.find(address)?.value;
  }

  /** DIEs of global and static variables by name; those of `preferred` first. */
  findVariables(name: string, preferred?: Unit): Generator<Die> {
    return this.find(name, preferred && this.unitNames.get(preferred).variables, 'variable');
  }

  /** Defining DIEs of types by name ('task_struct', 'u64'), of any kind of type; those of `preferred` first. */
  findTypes(name: string, preferred?: Unit): Generator<Die> {
    return this.find(name, preferred && this.unitNames.get(preferred).types, 'type');
  }

  /** Other units are only looked at when the preferred one is not enough. */
  private *find(name: string, preferred: Map<string, number[]> | undefined, kind: NameKind): Generator<Die> {
    const first = preferred?.get(name) ?? [];
    for (const offset of first) {
      const die = this.die(offset);
      if (die) yield die;
    }
    for (const offset of this.names.find(name, kind)) {
      const die = first.includes(offset) ? undefined : this.die(offset);
      if (die) yield die;
    }
  }

  /** Enumerations that may have an enumerator of that name; those of `preferred` first. */
  *enumerationsMentioning(name: string, preferred?: Unit): Generator<number> {
    if (preferred) yield* this.unitNames.get(preferred).enumerations;
    yield* this.names.find(name, 'enumerator');
  }

  findFunctions(name: string): FunctionEntry[] {
    const result: FunctionEntry[] = [];
    for (const unit of new Set(this.names.find(name, 'function').map((offset) => this.unitOf(offset)))) {
      if (unit) result.push(...(this.functions.get(unit).byName.get(name) ?? []));
      if (result.length > 1000) break;
    }
    return result;
  }

  isAssembly(unit: Unit): boolean {
    return LANGUAGE_ASSEMBLER.has(unit.language);
  }

  /** The function's tree of blocks and inlined functions; kept once read. */
  scopeOf(entry: FunctionEntry): Scope {
    return this.scopes.get(entry);
  }

  /**
   * The same, not kept.
   * @param full with names and variables; else only what is where
   */
  buildScope(entry: FunctionEntry, full = true): Scope {
    const { unit } = entry;
    const die = unit.die(entry.die);
    const root: Scope = {
      kind: 'function',
      die,
      ranges: entry.ranges,
      name: entry.name,
      parent: undefined,
      children: [],
      variables: [],
    };
    const budget: ListBudget = { left: 200_000 };
    const cursor = unit.cursor(die.next);
    const open: Scope[] = [root];
    let scopes = 0;
    while (die.hasChildren && open.length > 0 && cursor.remaining > 0) {
      const offset = cursor.position + unit.base;
      const abbreviation = unit.abbreviation(cursor);
      if (!abbreviation) {
        open.pop();
        continue;
      }
      const { tag } = abbreviation;
      const isScope = tag === Tag.lexicalBlock || tag === Tag.inlinedSubroutine;
      if (!full && !isScope) {
        this.skipEntry(unit, cursor, offset, abbreviation);
        continue;
      }
      const child = unit.readAttributes(cursor, offset, abbreviation);
      const parent = open[open.length - 1]!;
      if (isScope && open.length < MAX_SCOPE_DEPTH && scopes++ < MAX_SCOPES) {
        const kind = tag === Tag.lexicalBlock ? 'block' : 'inlined';
        const name = full && kind === 'inlined' ? this.name(child) : '';
        const ranges = dieRanges(child, budget);
        const scope: Scope = { kind, die: child, ranges, name, parent, children: [], variables: [] };
        // A block without code of its own (an abstract one) has no bearing on any address.
        if (ranges.length > 0) parent.children.push(scope);
        if (child.hasChildren) open.push(scope);
        continue;
      }
      if (tag === Tag.variable || tag === Tag.formalParameter) parent.variables.push(child);
      if (child.hasChildren) cursor.position = unit.skipChildren(child) - unit.base;
    }
    return root;
  }

  /** Steps over the attributes and children of the DIE at `offset`. */
  private skipEntry(unit: Unit, cursor: Cursor, offset: number, abbreviation: Abbreviation): void {
    const sibling = unit.skipAttributes(cursor, abbreviation);
    if (!abbreviation.hasChildren) return;
    if (sibling !== undefined && sibling - unit.base > cursor.position && sibling <= unit.end) {
      cursor.position = sibling - unit.base;
    } else cursor.position = unit.skipChildren(unit.die(offset)) - unit.base;
  }

  /**
   * The scopes at an address, innermost first; the last is the out-of-line function. Empty without one.
   * @param scopeOf how to get a function's tree
   */
  scopesAt(address: bigint, scopeOf = (entry: FunctionEntry): Scope => this.scopeOf(entry)): Scope[] {
    const entry = this.functionAt(address);
    if (!entry) return [];
    const chain: Scope[] = [];
    for (let scope: Scope | undefined = scopeOf(entry); scope;) {
      chain.unshift(scope);
      scope = scope.children.find(({ ranges }) => contains(ranges, address));
    }
    return chain;
  }
}

export function contains(ranges: AddressRange[], address: bigint): boolean {
  return ranges.some(([low, high]) => address >= low && address < high);
}

/** How many DIEs a scope keeps, with those inside. */
function diesOf({ variables, children }: Scope): number {
  return children.reduce((sum, child) => sum + diesOf(child), 1 + variables.length);
}

function append<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
