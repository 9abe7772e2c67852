import { BoundedCache } from '../boundedCache';
import { Attribute, Form } from './constants';
import { fixedSize, FormContext } from './forms';
import type { NamePlan } from './names';
import { Cursor } from './reader';
import { DebugSections, readFrom } from './sections';

/** One abbreviation declaration: the tag and attribute forms of all DIEs that use its code. DWARF 5, 7.5.3. */
export interface Abbreviation {
  tag: number;
  hasChildren: boolean;
  /** Attribute, form, attribute, form ... */
  specs: number[];
  /** Values of DW_FORM_implicit_const attributes, by position in `specs`. */
  implicit: Map<number, bigint> | undefined;
  /** Where attributes are, of DIEs of one size: see `layoutOf`. `null`: sizes differ. */
  layout: Layout | null | undefined;
  /** Notes of NameIndex. */
  names: NamePlan | undefined;
}

/** Sizes of the attributes of all DIEs of an abbreviation. */
export interface Layout {
  /** Of units of this format: see `formatOf`. */
  format: number;
  size: number;
  /** Offset of DW_AT_sibling in form ref4 from the first attribute, -1 without. */
  sibling: number;
}

/** What sizes of forms depend on, as one number. */
function formatOf({ version, addressSize, is64 }: FormContext): number {
  return addressSize * 4 + (is64 ? 2 : 0) + (version <= 2 ? 1 : 0);
}

/** The layout of an abbreviation's DIEs in a unit; undefined when they have to be read attribute by attribute. */
export function layoutOf(abbreviation: Abbreviation, context: FormContext): Layout | undefined {
  const known = abbreviation.layout;
  if (known === null || known?.format === formatOf(context)) return known ?? undefined;
  const { specs } = abbreviation;
  const layout: Layout = { format: formatOf(context), size: 0, sibling: -1 };
  abbreviation.layout = null;
  for (let i = 0; i < specs.length; i += 2) {
    const size = fixedSize(specs[i + 1]!, context);
    if (size === undefined) return undefined;
    if (specs[i] === Attribute.sibling) {
      if (specs[i + 1] !== Form.ref4) return undefined;
      layout.sibling = layout.size;
    }
    layout.size += size;
  }
  return (abbreviation.layout = layout);
}

/** More attributes than any compiler gives one DIE; bounds the work that a DIE of one byte can cause. */
const MAX_ATTRIBUTES = 128;

/** The declarations of one table by their codes, which producers count from 1. */
export class AbbreviationTable {
  private readonly inOrder: (Abbreviation | undefined)[] = [undefined];
  private others: Map<number, Abbreviation> | undefined;

  get(code: number): Abbreviation | undefined {
    return code < this.inOrder.length ? this.inOrder[code] : this.others?.get(code);
  }

  /** Of a code given twice, the last counts. */
  set(code: number, abbreviation: Abbreviation): void {
    if (code <= this.inOrder.length) this.inOrder[code] = abbreviation;
    else (this.others ??= new Map()).set(code, abbreviation);
  }
}

/** Tables kept at the same time: a kernel has thousands, of some 70 kB each. (Many would grow old before they are forgotten.) */
const MAX_TABLES = 24;

/** Reads .debug_abbrev tables on demand. */
export class Abbreviations {
  private readonly tables: BoundedCache<number, AbbreviationTable>;
  private readonly charged = new Set<number>();
  /** Well-formed tables do not overlap, so reading all of them costs no more than the section's size. */
  private budget: number;

  constructor(sections: DebugSections) {
    this.budget = sections.size('.debug_abbrev') * 2 + 1024;
    this.tables = new BoundedCache(MAX_TABLES, (offset) =>
      readFrom(sections, '.debug_abbrev', offset, (cursor) => this.read(cursor, offset)),
    );
  }

  /** The table at a section offset. Throws a DwarfError when it is malformed. */
  table(offset: number): AbbreviationTable {
    return this.tables.get(offset);
  }

  private read(cursor: Cursor, offset: number): AbbreviationTable {
    if (this.budget <= 0) cursor.fail('tables that do not overlap');
    const start = cursor.position;
    let table: AbbreviationTable | undefined;
    try {
      return (table = readTable(cursor));
    } finally {
      // Tables that were put away cost nothing the second time; malformed ones are never kept.
      if (!table || !this.charged.has(offset)) this.budget -= cursor.position - start;
      this.charged.add(offset);
    }
  }
}

function readTable(cursor: Cursor): AbbreviationTable {
  const table = new AbbreviationTable();
  const specs: number[] = [];
  for (;;) {
    const code = cursor.uleb();
    if (code === 0) return table;
    const tag = cursor.uleb();
    const hasChildren = cursor.u8() !== 0;
    let count = 0;
    let implicit: Map<number, bigint> | undefined;
    for (;;) {
      const attribute = cursor.uleb();
      const form = cursor.uleb();
      if (form === Form.implicitConst) (implicit ??= new Map()).set(count, cursor.slebBig());
      if (attribute === 0 && form === 0) break;
      specs[count++] = attribute;
      specs[count++] = form;
      if (count > 2 * MAX_ATTRIBUTES) cursor.fail(`at most ${MAX_ATTRIBUTES} attributes in an abbreviation`);
    }
    table.set(code, { tag, hasChildren, specs: specs.slice(0, count), implicit, layout: undefined, names: undefined });
  }
}
