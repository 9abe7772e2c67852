import { Abbreviation, Abbreviations, layoutOf } from './abbrev';
import { Attribute, UnitType } from './constants';
import { AttributeValue, FormContext, readForm, skipForm } from './forms';
import { Cursor, DwarfError, hexOffset } from './reader';
import { DebugSections, readFrom } from './sections';

/** A debugging information entry, read in full. Offsets are those of .debug_info (.debug_types follows on it). */
export interface Die {
  unit: Unit;
  offset: number;
  tag: number;
  hasChildren: boolean;
  attributes: Map<number, AttributeValue>;
  /** Offset behind the attributes: the first child if it has children, else the next sibling. */
  next: number;
}

/** More than the attributes of almost every root take. */
const ROOT_BYTES = 512;
/** Bytes that hold any unit's header. */
const HEADER_BYTES = 64;
/** More units than any program has. */
const MAX_UNITS = 1_000_000;

/** A unit's header and, on demand, its root DIE and bases. DWARF 5, 7.5.1 "Unit Headers". */
export class Unit implements FormContext {
  private rootDie: Die | undefined;

  constructor(
    readonly sections: DebugSections,
    private readonly abbreviations: Abbreviations,
    private readonly strings: StringReader,
    readonly section: '.debug_info' | '.debug_types',
    /** DIE offset of the section's first byte. */
    private readonly sectionBase: number,
    /** DIE offset of the header. */
    readonly offset: number,
    /** DIE offset of the root. */
    readonly firstDie: number,
    /** DIE offset of the end. */
    readonly end: number,
    readonly version: number,
    readonly addressSize: number,
    readonly is64: boolean,
    readonly type: number,
    private readonly abbrevOffset: number,
    /** Of type units: signature, and DIE offset of the type. */
    readonly signature: bigint | undefined,
    readonly typeOffset: number | undefined,
  ) {}

  /** What to add to a cursor's position to get a DIE offset. */
  get base(): number {
    return this.offset;
  }

  get root(): Die {
    return (this.rootDie ??= this.readRoot());
  }

  /** The root alone is often all that is asked of a unit: its first bytes will do. */
  private readRoot(): Die {
    try {
      const end = Math.min(this.end, this.firstDie + ROOT_BYTES);
      const cursor = this.cursor(this.firstDie, end);
      const abbreviation = this.abbreviation(cursor);
      if (abbreviation) return this.readAttributes(cursor, this.firstDie, abbreviation);
    } catch (error) {
      if (!(error instanceof DwarfError)) throw error;
    }
    return this.die(this.firstDie);
  }

  /** Cursor over the unit's contents from a DIE offset on; `end`: read only up to there. */
  cursor(offset: number, end = this.end): Cursor {
    if (offset < this.firstDie || offset > end) {
      throw new DwarfError(`${this.section}: ${hexOffset(offset)} is outside the unit at ${hexOffset(this.offset)}`);
    }
    const start = this.offset - this.sectionBase;
    const data = this.sections.range(this.section, start, end - this.offset);
    return new Cursor(data, offset - this.offset, data.length, this.section, start);
  }

  /** Reads an abbreviation code; undefined for the null entry that ends a list of siblings. */
  abbreviation(cursor: Cursor): Abbreviation | undefined {
    const code = cursor.uleb();
    if (code === 0) return undefined;
    const abbreviation = this.abbreviations.table(this.abbrevOffset).get(code);
    if (!abbreviation) cursor.fail(`an abbreviation code of the unit's table, not ${code},`);
    return abbreviation;
  }

  /** The DIE at an offset. Throws a DwarfError when there is none. */
  die(offset: number): Die {
    const cursor = this.cursor(offset);
    const abbreviation = this.abbreviation(cursor);
    if (!abbreviation) return cursor.fail('a debugging information entry');
    return this.readAttributes(cursor, offset, abbreviation);
  }

  readAttributes(cursor: Cursor, offset: number, abbreviation: Abbreviation): Die {
    const attributes = new Map<number, AttributeValue>();
    const { specs, implicit } = abbreviation;
    for (let i = 0; i < specs.length; i += 2) {
      const value = readForm(cursor, specs[i + 1]!, this, implicit?.get(i));
      // Of an attribute given twice, the first counts.
      if (!attributes.has(specs[i]!)) attributes.set(specs[i]!, value);
    }
    return {
      unit: this,
      offset,
      tag: abbreviation.tag,
      hasChildren: abbreviation.hasChildren,
      attributes,
      next: cursor.position + this.base,
    };
  }

  /** Steps over a DIE's attributes; returns its DW_AT_sibling as DIE offset if it has one. */
  skipAttributes(cursor: Cursor, abbreviation: Abbreviation): number | undefined {
    const layout = layoutOf(abbreviation, this);
    if (layout) {
      const start = cursor.position;
      cursor.skip(layout.size);
      if (layout.sibling < 0) return undefined;
      const end = cursor.position;
      cursor.position = start + layout.sibling;
      const target = cursor.u32() + this.offset;
      cursor.position = end;
      return target;
    }
    const { specs, implicit } = abbreviation;
    let sibling: number | undefined;
    for (let i = 0; i < specs.length; i += 2) {
      if (specs[i] === Attribute.sibling) {
        sibling = this.reference(readForm(cursor, specs[i + 1]!, this, implicit?.get(i)));
      } else {
        skipForm(cursor, specs[i + 1]!, this);
      }
    }
    return sibling;
  }

  /** DIE offset behind a DIE and all its descendants. */
  skipChildren(die: Die): number {
    if (!die.hasChildren) return die.next;
    const sibling = this.reference(die.attributes.get(Attribute.sibling));
    if (sibling !== undefined && sibling > die.offset && sibling <= this.end) return sibling;
    const cursor = this.cursor(die.next);
    for (let depth = 1; depth > 0 && cursor.remaining > 0;) {
      const abbreviation = this.abbreviation(cursor);
      if (!abbreviation) {
        depth--;
        continue;
      }
      const next = this.skipAttributes(cursor, abbreviation);
      if (!abbreviation.hasChildren) continue;
      if (next !== undefined && next - this.base > cursor.position && next <= this.end) {
        cursor.position = next - this.base;
      } else {
        depth++;
      }
    }
    return cursor.position + this.base;
  }

  /** The direct children of a DIE, read in full, at most `limit`. */
  *children(die: Die, limit = 100_000): Generator<Die> {
    if (!die.hasChildren) return;
    let offset = die.next;
    for (let i = 0; i < limit && offset < this.end; i++) {
      const cursor = this.cursor(offset);
      const abbreviation = this.abbreviation(cursor);
      if (!abbreviation) return;
      const child = this.readAttributes(cursor, offset, abbreviation);
      yield child;
      offset = this.skipChildren(child);
    }
  }

  /** A reference within this unit or section as DIE offset. */
  reference(value: AttributeValue | undefined): number | undefined {
    if (value?.class !== 'reference') return undefined;
    return value.unit ? value.value + this.offset : value.value;
  }

  string(value: AttributeValue | undefined): string | undefined {
    switch (value?.class) {
      case 'string':
        return value.value;
      case 'stringOffset':
        return this.strings.at(value.section, value.value);
      case 'stringIndex':
        return this.strings.at('.debug_str', this.indexedString(value.value));
      default:
        return undefined;
    }
  }

  /** Offset in .debug_str of an entry of .debug_str_offsets. DWARF 5, 7.26 "String Offsets Table". */
  indexedString(index: number): number {
    const base = this.sectionOffset(this.root.attributes.get(Attribute.strOffsetsBase)) ?? (this.is64 ? 16 : 8);
    return this.read('.debug_str_offsets', base + index * (this.is64 ? 8 : 4), (cursor) => cursor.offset(this.is64));
  }

  address(value: AttributeValue | undefined): bigint | undefined {
    if (value?.class === 'address') return value.value;
    return value?.class === 'addressIndex' ? this.indexedAddress(value.value) : undefined;
  }

  /** Entry of .debug_addr. DWARF 5, 7.27 "Address Table". */
  indexedAddress(index: number): bigint {
    const base = this.sectionOffset(this.root.attributes.get(Attribute.addrBase)) ?? 8;
    return this.read('.debug_addr', base + index * this.addressSize, (cursor) => cursor.unsigned(this.addressSize));
  }

  /** A constant as unsigned number, undefined when absent or not a safe integer. */
  number(value: AttributeValue | undefined): number | undefined {
    if (value?.class !== 'constant') return undefined;
    const number = Number(value.value);
    return Number.isSafeInteger(number) ? number : undefined;
  }

  sectionOffset(value: AttributeValue | undefined): number | undefined {
    if (value?.class === 'sectionOffset') return value.value;
    // Before DWARF 4, section offsets were written as data4 or data8.
    return value?.class === 'constant' && this.version < 4 && value.size >= 4 ? Number(value.value) : undefined;
  }

  /** What `read` makes of another section from an offset on: see readFrom. */
  read<T>(section: string, offset: number, read: (cursor: Cursor) => T): T {
    return readFrom(this.sections, section, offset, read);
  }

  get name(): string {
    return this.string(this.root.attributes.get(Attribute.name)) ?? '';
  }
  get compDir(): string {
    return this.string(this.root.attributes.get(Attribute.compDir)) ?? '';
  }
  get language(): number {
    return this.number(this.root.attributes.get(Attribute.language)) ?? 0;
  }
  get producer(): string {
    return this.string(this.root.attributes.get(Attribute.producer)) ?? '';
  }
  get lineOffset(): number | undefined {
    return this.sectionOffset(this.root.attributes.get(Attribute.stmtList));
  }
  get lowPc(): bigint {
    return this.address(this.root.attributes.get(Attribute.lowPc)) ?? 0n;
  }
}

/** Strings of .debug_str and .debug_line_str; recently used ones are kept. */
export class StringReader {
  private readonly cache = new Map<number, string>();

  constructor(private readonly sections: DebugSections) {}

  at(section: '.debug_str' | '.debug_line_str', offset: number): string {
    const key = section === '.debug_str' ? offset : -1 - offset;
    let text = this.cache.get(key);
    if (text === undefined) {
      const data = this.sections.data(section);
      text = new Cursor(data, offset, data.length, section).string();
      if (this.cache.size > 50_000) this.cache.clear();
      this.cache.set(key, text);
    }
    return text;
  }
}

/** Reads the headers of all units of .debug_info and .debug_types; stops at the first that is malformed. */
export function* readUnits(sections: DebugSections, strings: StringReader): Generator<void, Unit[]> {
  const abbreviations = new Abbreviations(sections);
  const units: Unit[] = [];
  let base = 0;
  for (const section of ['.debug_info', '.debug_types'] as const) {
    const size = sections.size(section);
    try {
      for (let start = 0; start < size;) {
        if (units.length % 64 === 0) yield;
        const data = sections.range(section, start, Math.min(HEADER_BYTES, size - start));
        const cursor = new Cursor(data, 0, data.length, section, start);
        const { length, is64 } = cursor.lengthField();
        const end = start + cursor.position + length;
        if (end > size) cursor.fail(`a unit of at most ${size - start - cursor.position} bytes, not ${length},`);
        const header = new Cursor(data, cursor.position, Math.min(data.length, end - start), section, start);
        const unit = readHeader(header, start, end, is64);
        if (unit) units.push(unit);
        if (units.length > MAX_UNITS) cursor.fail(`at most ${MAX_UNITS} units`);
        start = end;
      }
    } catch (error) {
      sections.warnings.add(messageOf(error));
    }
    base = size;

    function readHeader(header: Cursor, start: number, end: number, is64: boolean): Unit | undefined {
      const version = header.u16();
      if (version < 2 || version > 5) {
        sections.warnings.add(
          `${section}: expected DWARF version 2 to 5 at offset ${hexOffset(start)}, not ${version}`,
        );
        return undefined;
      }
      let type: number = section === '.debug_types' ? UnitType.type : UnitType.compile;
      let addressSize: number;
      let abbrevOffset: number;
      if (version >= 5) {
        type = header.u8();
        addressSize = header.u8();
        abbrevOffset = header.offset(is64);
      } else {
        abbrevOffset = header.offset(is64);
        addressSize = header.u8();
      }
      if (![1, 2, 4, 8].includes(addressSize)) {
        sections.warnings.add(`${section}: expected an address size at offset ${hexOffset(start)}, not ${addressSize}`);
        return undefined;
      }
      let signature: bigint | undefined;
      let typeOffset: number | undefined;
      if (type === UnitType.type || type === UnitType.splitType) {
        signature = header.u64();
        typeOffset = header.offset(is64) + start + base;
      } else if (type === UnitType.skeleton || type === UnitType.splitCompile) {
        header.skip(8);
      }
      const first = start + header.position + base;
      return new Unit(sections, abbreviations, strings, section, base, start + base, first, end + base, version,
        addressSize, is64, type, abbrevOffset, signature, typeOffset); // prettier-ignore
    }
  }
  return units;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
