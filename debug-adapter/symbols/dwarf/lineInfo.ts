import { atOnce } from '../../introspection/slices';
import { BoundedCache } from '../boundedCache';
import { DebugInfo } from './info';
import { LineRows, LineSequence, LineTable } from './line';
import { LineFiles, PathResolver } from './lineFiles';
import { AddressRange, DebugSections, RangeMap } from './sections';
import { messageOf, Unit } from './unit';

/** The rows in effect for one address: [low, high) as linked. */
export interface LineRow {
  table: LineTable;
  low: bigint;
  high: bigint;
  /** Path as the compiler knew it, absolute where that is possible. */
  file: string;
  line: number;
  column: number;
  isStmt: boolean;
}

/** Tables whose headers are kept at the same time, each with the names of hundreds of files; and rows of them, of 19 bytes. */
const MAX_TABLES = 256;
const MAX_ROWS = 500_000;

/** Lines and source files of one object file. Headers are read for searches by file, programs only where needed. */
export class LineInfo {
  private readonly tables = new BoundedCache<number, LineTable | undefined>(MAX_TABLES, (offset) => this.read(offset));
  private readonly tableRows = new BoundedCache<LineTable, LineRows>(
    MAX_ROWS,
    (table) => table.rows(),
    ({ count }) => count,
  );
  private readonly paths = new WeakMap<LineTable, (string | undefined)[]>();
  private readonly files: LineFiles;
  private unitsByLineOffset: Map<number, Unit> | undefined;
  private tableMap: RangeMap<LineTable> | undefined;

  constructor(
    private readonly sections: DebugSections,
    private readonly info: DebugInfo,
    /** Path of the object file: what relative compilation directories are relative to. */
    private readonly objectPath: string,
  ) {
    this.files = new LineFiles(sections, info.strings, objectPath, (table) => this.compilationDirectory(table));
  }

  private read(offset: number): LineTable | undefined {
    try {
      return new LineTable(this.sections, this.info.strings, offset);
    } catch (error) {
      this.sections.warnings.add(messageOf(error));
      return undefined;
    }
  }

  private table(offset: number): LineTable | undefined {
    return this.tables.get(offset);
  }

  tableOf(unit: Unit): LineTable | undefined {
    const offset = unit.lineOffset;
    return offset === undefined ? undefined : this.table(offset);
  }

  rows(table: LineTable): LineRows {
    return this.tableRows.get(table);
  }

  /** Path of a file by its number in a table; '' when the table has no such file. */
  filePath(table: LineTable, number: number): string {
    let paths = this.paths.get(table);
    if (!paths) this.paths.set(table, (paths = []));
    const index = number - table.firstFile;
    return (paths[index] ??= new PathResolver(table, this.objectPath, (offset) =>
      this.compilationDirectory(offset),
    ).path(index));
  }

  private compilationDirectory(table: number): string {
    if (!this.unitsByLineOffset) {
      this.unitsByLineOffset = new Map();
      for (const unit of this.info.units) {
        try {
          const offset = unit.lineOffset;
          if (offset !== undefined && !this.unitsByLineOffset.has(offset)) this.unitsByLineOffset.set(offset, unit);
        } catch (error) {
          this.sections.warnings.add(messageOf(error));
        }
      }
    }
    return this.unitsByLineOffset.get(table)?.compDir ?? '';
  }

  /** Reads which files there are and where they are used: what searches by file need. */
  prepare(): Generator<void, void> {
    return this.files.prepare();
  }

  /** Paths, as compiled, of the files of a name (the last segment of their path). */
  filesNamed(name: string): string[] {
    atOnce(this.prepare());
    return this.files.named(name);
  }

  /** Paths of all source files. */
  sourceFiles(): string[] {
    atOnce(this.prepare());
    return this.files.paths.filter((path) => path !== '').sort();
  }

  private tableAt(address: bigint): LineTable | undefined {
    const unit = this.info.unitAt(address);
    const table = unit && this.tableOf(unit);
    if (table || this.info.units.length > 0) return table;
    if (!this.tableMap) {
      this.tableMap = new RangeMap();
      const size = this.sections.size('.debug_line');
      for (let offset = 0; offset < size;) {
        const each = this.table(offset);
        if (!each) break;
        for (const { low, high } of this.rows(each).sequences) this.tableMap.add(low, high, each);
        offset = each.end;
      }
    }
    return this.tableMap.find(address)?.value;
  }

  /** The row in effect at an address as linked. */
  rowAt(address: bigint): LineRow | undefined {
    const table = this.tableAt(address);
    const rows = table && this.rows(table);
    const sequence = rows?.sequenceAt(address);
    return sequence && this.describe(table!, rows!, sequence, rows!.rowAt(sequence, address));
  }

  private describe(
    table: LineTable,
    rows: LineRows,
    sequence: LineSequence,
    { row, first, next }: { row: number; first: number; next: number },
  ): LineRow {
    return {
      table,
      low: rows.address(sequence, first),
      high: next > sequence.last ? sequence.high : rows.address(sequence, next),
      file: this.filePath(table, rows.file(row)),
      line: rows.line(row),
      column: rows.column(row),
      isStmt: rows.isStmt(row),
    };
  }

  /** The rows of a range of addresses, in order, one per address. */
  *rowsIn([low, high]: AddressRange): Generator<LineRow> {
    const table = this.tableAt(low);
    const rows = table && this.rows(table);
    if (!rows) return;
    const sequence = rows.sequenceAt(low);
    if (!sequence) return;
    for (let group = rows.rowAt(sequence, low); ; group = rows.group(sequence, group.next)) {
      if (rows.address(sequence, group.first) >= high) return;
      yield this.describe(table, rows, sequence, group);
      if (group.next >= sequence.last) return;
    }
  }

  /**
   * End of a function's prologue: the row that the compiler marked, else the second row. A second row at the same
   * address as the first says that there is no prologue.
   */
  prologueEnd(entry: bigint, ranges: AddressRange[]): bigint {
    const range = ranges.find(([low, high]) => entry >= low && entry < high);
    const table = this.tableAt(entry);
    const rows = table && this.rows(table);
    const sequence = rows?.sequenceAt(entry);
    if (!range || !rows || !sequence) return entry;
    const { first } = rows.rowAt(sequence, entry);
    if (rows.address(sequence, first) !== entry) return entry;
    let second: bigint | undefined;
    for (let row = first; row < sequence.last; row++) {
      const address = rows.address(sequence, row);
      if (address >= range[1]) break;
      if (rows.prologueEnd(row)) return address;
      if (row > first && rows.isStmt(row) && rows.line(row) > 0) second ??= address;
    }
    return second ?? entry;
  }

  /** Calls `visit` for every row that begins a statement in one of the files; addresses as linked. */
  *forEachStatement(
    name: string,
    paths: ReadonlySet<string>,
    visit: (line: number, address: () => bigint) => void,
  ): Generator<void, void> {
    yield* this.prepare();
    const numbers = new Map<number, Set<number>>();
    for (const { table, number } of yield* this.files.usesOf(name, paths)) {
      const set = numbers.get(table);
      if (set) set.add(number);
      else numbers.set(table, new Set([number]));
    }
    for (const [offset, files] of numbers) {
      yield;
      const table = this.table(offset);
      if (!table) continue;
      const rows = this.rows(table);
      for (const sequence of rows.sequences) {
        for (let row = sequence.first; row < sequence.last; row++) {
          if (!rows.isStmt(row) || !files.has(rows.file(row)) || rows.line(row) === 0) continue;
          visit(rows.line(row), () => rows.address(sequence, row));
        }
      }
    }
  }
}
