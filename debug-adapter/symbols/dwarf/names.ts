import { atOnce } from '../../introspection/slices';
import { hashName, isName } from '../nameHash';
import { SharedWork } from '../sharedWork';
import { Abbreviation } from './abbrev';
import { Attribute, containers, Form, hasNestedFunctions, Tag, UnitType } from './constants';
import { AttributeValue, readForm, skipForm } from './forms';
import { Growing } from './growing';
import type { DebugInfo } from './info';
import { Cursor } from './reader';
import { messageOf, Unit } from './unit';

export type NameKind = 'variable' | 'type' | 'enumerator' | 'function';

/** What is looked for, by tag. Of all but functions, the first definition of each name and tag is kept. */
const WANTED = new Map<number, { kind: NameKind; bit: number }>([
  [Tag.variable, { kind: 'variable', bit: 1 }],
  [Tag.structureType, { kind: 'type', bit: 2 }],
  [Tag.unionType, { kind: 'type', bit: 4 }],
  [Tag.classType, { kind: 'type', bit: 8 }],
  [Tag.enumerationType, { kind: 'type', bit: 16 }],
  [Tag.typedef, { kind: 'type', bit: 32 }],
  [Tag.baseType, { kind: 'type', bit: 64 }],
  [Tag.enumerator, { kind: 'enumerator', bit: 128 }],
  [Tag.subprogram, { kind: 'function', bit: 0 }],
]);
const KINDS: readonly NameKind[] = ['variable', 'type', 'enumerator', 'function'];

const aggregates = new Set<number>([Tag.structureType, Tag.classType, Tag.unionType]);

/** References followed from a DIE to its name. */
const MAX_REFERENCES = 8;
/** DIEs handled between two pauses. */
const STEP = 2048;

/** What a walk needs to know of an abbreviation. */
export interface NamePlan {
  /** Undefined: nothing that is looked for. */
  wanted: { kind: number; bit: number } | undefined;
  /** Position of the name among the attributes, -1 without. */
  name: number;
  /** Position of the reference to the DIE that this one completes, -1 without. */
  origin: number;
  /** The name is the first attribute, an offset in .debug_str of 4 bytes, as in almost all entries of most compilers. */
  simple: boolean;
  /** It has what makes it a definition. */
  defines: boolean;
}

/**
 * Where names are defined: the outermost entries of all units, walked once. Kept in numbers, since the units of a kernel have
 * millions of entries that name some hundred thousand things.
 */
export class NameIndex {
  /** Which tags of a string of .debug_str have been met. */
  private seen = new Uint8Array(0);
  /** .debug_str. */
  private strings: Uint8Array = new Uint8Array(0);
  /** By the hash of a name: index + 1 of the last entry. */
  private readonly heads = new Map<number, number>();
  /** Names that stand in the units themselves, and which tags of them have been met. */
  private readonly ownNames = new Map<string, { index: number; seen: number }>();
  /** Offset of the name in .debug_str; -1 - its index for those in `ownNames`. */
  private readonly names = new Growing((length) => new Float64Array(length));
  private readonly kinds = new Growing((length) => new Uint8Array(length));
  private readonly dies = new Growing((length) => new Float64Array(length));
  private readonly nexts = new Growing((length) => new Uint32Array(length));
  private readonly reading = new SharedWork(() => this.read());

  constructor(private readonly info: DebugInfo) {}

  /** Walks all units. */
  prepare(): Generator<void, void> {
    return this.reading.run();
  }

  get ready(): boolean {
    return this.reading.done;
  }

  private *read(): Generator<void, void> {
    this.strings = this.info.sections.data('.debug_str');
    this.seen = new Uint8Array(this.strings.length);
    for (const unit of this.info.units) {
      yield;
      if (unit.type === UnitType.skeleton) continue;
      try {
        yield* this.walk(unit);
      } catch (error) {
        this.info.sections.warnings.add(messageOf(error));
      }
    }
    this.seen = new Uint8Array(0);
  }

  /** DIE offsets of definitions, in file order; of enumerators: their enumerations. */
  find(name: string, kind: NameKind): number[] {
    atOnce(this.prepare());
    const wanted = new TextEncoder().encode(name);
    const own = this.ownNames.get(name);
    const { strings } = this;
    const offsets = new Set<number>();
    for (let i = this.heads.get(hashName(wanted)) ?? 0; i > 0; i = this.nexts.items[i - 1]!) {
      if (KINDS[this.kinds.items[i - 1]!] !== kind) continue;
      const at = this.names.items[i - 1]!;
      if (at < 0 ? own?.index === -1 - at : isName(strings, at, wanted)) offsets.add(this.dies.items[i - 1]!);
    }
    return [...offsets].sort((a, b) => a - b);
  }

  private add(hash: number, name: number, kind: number, die: number): void {
    this.nexts.push(this.heads.get(hash) ?? 0);
    this.names.push(name);
    this.kinds.push(kind);
    this.dies.push(die);
    this.heads.set(hash, this.dies.length);
  }

  private plan(abbreviation: Abbreviation): NamePlan {
    let plan = abbreviation.names;
    if (!plan) {
      const { specs, tag } = abbreviation;
      const wanted = WANTED.get(tag);
      const has = (attribute: number): boolean => indexOf(specs, attribute) >= 0;
      const defines =
        tag === Tag.variable
          ? has(Attribute.location) || has(Attribute.constValue)
          : tag === Tag.subprogram
            ? has(Attribute.lowPc) || has(Attribute.ranges)
            : !has(Attribute.declaration);
      const name = indexOf(specs, Attribute.name);
      const origin = indexOf(specs, Attribute.abstractOrigin);
      plan = {
        wanted: wanted && { kind: KINDS.indexOf(wanted.kind), bit: wanted.bit },
        name,
        origin: origin >= 0 ? origin : indexOf(specs, Attribute.specification),
        simple: name === 0 && specs[1] === Form.strp,
        defines,
      };
      abbreviation.names = plan;
    }
    return plan;
  }

  private *walk(unit: Unit): Generator<void, void> {
    const { root } = unit;
    if (!root.hasChildren) return;
    const nested = hasNestedFunctions(unit.language);
    const cursor = unit.cursor(root.next);
    let depth = 1;
    /** DIE of the enumeration whose enumerators are being read, and how deep it is. */
    let enumeration = 0;
    let enumerationDepth = 0;
    for (let count = 1; depth > 0 && cursor.remaining > 0; count++) {
      if (count % STEP === 0) yield;
      const offset = cursor.position + unit.base;
      const abbreviation = unit.abbreviation(cursor);
      if (!abbreviation) {
        depth--;
        if (depth < enumerationDepth) enumerationDepth = 0;
        continue;
      }
      const { tag, hasChildren } = abbreviation;
      const plan = this.plan(abbreviation);
      const start = cursor.position;
      const sibling = unit.skipAttributes(cursor, abbreviation);
      if (plan.wanted && plan.defines && (tag !== Tag.enumerator || enumerationDepth > 0)) {
        const end = cursor.position;
        cursor.position = start;
        this.define(unit, abbreviation, plan, cursor, enumerationDepth > 0 ? enumeration : offset);
        cursor.position = end;
      }
      if (!hasChildren) continue;
      const isEnumeration = tag === Tag.enumerationType;
      if (containers.has(tag) || isEnumeration || (nested && aggregates.has(tag))) {
        depth++;
        if (isEnumeration) [enumeration, enumerationDepth] = [offset, depth];
      } else if (sibling !== undefined && sibling - unit.base > cursor.position && sibling <= unit.end) {
        cursor.position = sibling - unit.base;
      } else {
        cursor.position = unit.skipChildren(unit.die(offset)) - unit.base;
      }
    }
  }

  /** `cursor`: at the attributes of the entry. `kept`: the DIE that a search finds. */
  private define(unit: Unit, abbreviation: Abbreviation, plan: NamePlan, cursor: Cursor, kept: number): void {
    const { kind, bit } = plan.wanted!;
    if (plan.simple && !unit.is64) {
      this.addString(cursor.u32(), kind, bit, kept);
      return;
    }
    const found = this.nameOf(unit, cursor, abbreviation, MAX_REFERENCES);
    if (!found) return;
    const { name, owner } = found;
    if (name.class === 'stringOffset' && name.section === '.debug_str') {
      this.addString(name.value, kind, bit, kept);
    } else if (name.class === 'stringIndex') {
      this.addString(owner.indexedString(name.value), kind, bit, kept);
    } else {
      const text = owner.string(name);
      if (!text) return;
      let own = this.ownNames.get(text);
      if (!own) this.ownNames.set(text, (own = { index: this.ownNames.size, seen: 0 }));
      const hash = hashName(new TextEncoder().encode(text));
      if ((own.seen & bit) === 0) this.add(hash, -1 - own.index, kind, kept);
      own.seen |= bit;
    }
  }

  /**
   * The name of the DIE whose attributes `cursor` is at, or of the declaration that it completes, and whose indexes it refers to. No
   * more than that is read: there are hundreds of thousands.
   */
  private nameOf(
    unit: Unit,
    cursor: Cursor,
    abbreviation: Abbreviation,
    references: number,
  ): { name: AttributeValue; owner: Unit } | undefined {
    const plan = this.plan(abbreviation);
    if (plan.name >= 0) return { name: valueAt(cursor, unit, abbreviation, plan.name), owner: unit };
    if (plan.origin < 0 || references === 0) return undefined;
    const offset = this.info.targetOffset(unit, valueAt(cursor, unit, abbreviation, plan.origin));
    const owner = offset === undefined ? undefined : this.info.unitOf(offset);
    if (!owner) return undefined;
    const target = owner.cursor(offset!);
    const next = owner.abbreviation(target);
    return next && this.nameOf(owner, target, next, references - 1);
  }

  /** Adds a name by its offset in .debug_str. */
  private addString(offset: number, kind: number, bit: number, die: number): void {
    if (!(offset < this.seen.length) || (this.seen[offset]! & bit) !== 0) return;
    this.seen[offset]! |= bit;
    this.add(hashName(this.strings, offset), offset, kind, die);
  }
}

/** Position of an attribute among an abbreviation's, -1 without. Of one given twice, the first counts. */
function indexOf(specs: readonly number[], attribute: number): number {
  for (let i = 0; i < specs.length; i += 2) if (specs[i] === attribute) return i;
  return -1;
}

/** The value of the attribute at `index` of the abbreviation; `cursor` is at the first. */
function valueAt(cursor: Cursor, unit: Unit, { specs, implicit }: Abbreviation, index: number): AttributeValue {
  for (let i = 0; i < index; i += 2) skipForm(cursor, specs[i + 1]!, unit);
  return readForm(cursor, specs[index + 1]!, unit, implicit?.get(index));
}
