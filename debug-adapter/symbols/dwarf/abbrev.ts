import { Form } from './constants';
import { Cursor } from './reader';

/** One abbreviation declaration: the tag and attribute forms of all DIEs that use its code. DWARF 5, 7.5.3. */
export interface Abbreviation {
  tag: number;
  hasChildren: boolean;
  /** Attribute, form, attribute, form ... */
  specs: number[];
  /** Values of DW_FORM_implicit_const attributes, by position in `specs`. */
  implicit: Map<number, bigint> | undefined;
}

/** More attributes than any compiler gives one DIE; bounds the work that a DIE of one byte can cause. */
const MAX_ATTRIBUTES = 128;

export type AbbreviationTable = Map<number, Abbreviation>;

/** Reads .debug_abbrev tables on demand, each once. */
export class Abbreviations {
  private readonly tables = new Map<number, AbbreviationTable>();
  /** Well-formed tables do not overlap, so reading all of them costs no more than the section's size. */
  private budget: number;

  constructor(private readonly data: Uint8Array) {
    this.budget = data.length * 2 + 1024;
  }

  /** The table at a section offset. Throws a DwarfError when it is malformed. */
  table(offset: number): AbbreviationTable {
    let table = this.tables.get(offset);
    if (!table) {
      const cursor = new Cursor(this.data, offset, this.data.length, '.debug_abbrev');
      if (this.budget <= 0) cursor.fail('tables that do not overlap');
      try {
        table = readTable(cursor);
      } finally {
        this.budget -= cursor.position - offset;
      }
      this.tables.set(offset, table);
    }
    return table;
  }
}

function readTable(cursor: Cursor): AbbreviationTable {
  const table: AbbreviationTable = new Map();
  for (;;) {
    const code = cursor.uleb();
    if (code === 0) return table;
    const tag = cursor.uleb();
    const hasChildren = cursor.u8() !== 0;
    const specs: number[] = [];
    let implicit: Map<number, bigint> | undefined;
    for (;;) {
      const attribute = cursor.uleb();
      const form = cursor.uleb();
      if (form === Form.implicitConst) (implicit ??= new Map()).set(specs.length, cursor.slebBig());
      if (attribute === 0 && form === 0) break;
      specs.push(attribute, form);
      if (specs.length > 2 * MAX_ATTRIBUTES) cursor.fail(`at most ${MAX_ATTRIBUTES} attributes in an abbreviation`);
    }
    table.set(code, { tag, hasChildren, specs, implicit });
  }
}
