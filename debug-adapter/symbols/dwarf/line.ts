import { LineHeader } from './lineHeader';
import { Cursor } from './reader';

const isStmtFlag = 1;
const prologueEndFlag = 2;

/** A contiguous run of rows, ascending in address, that ends with its end_sequence row. */
export interface LineSequence {
  low: bigint;
  high: bigint;
  /** Rows [first, last) of the table; row `last` is the end_sequence row. */
  first: number;
  last: number;
}

/** The rows of one line program, column by column. DWARF 5, 6.2 "Line Number Information". */
export class LineRows {
  readonly sequences: LineSequence[] = [];
  count = 0;
  /** Address relative to the sequence's first. */
  private offsets = new Float64Array(64);
  private fileNumbers = new Uint32Array(64);
  private lines = new Uint32Array(64);
  private columns = new Uint16Array(64);
  private flags = new Uint8Array(64);

  push(offset: number, file: number, line: number, column: number, isStmt: boolean, prologueEnd: boolean): void {
    if (this.count === this.lines.length) this.grow();
    const i = this.count++;
    this.offsets[i] = offset;
    this.fileNumbers[i] = file;
    this.lines[i] = line;
    this.columns[i] = Math.min(column, 0xffff);
    this.flags[i] = (isStmt ? isStmtFlag : 0) | (prologueEnd ? prologueEndFlag : 0);
  }

  private grow(): void {
    this.resize(this.count * 2);
  }

  /** Gives up the room behind the last row. */
  trim(): void {
    if (this.count < this.lines.length) this.resize(this.count);
  }

  private resize(length: number): void {
    const copy = <T extends { set(source: T): void; subarray(from: number, to: number): T }>(from: T, to: T): T => {
      to.set(from.subarray(0, this.count));
      return to;
    };
    this.offsets = copy(this.offsets, new Float64Array(length));
    this.fileNumbers = copy(this.fileNumbers, new Uint32Array(length));
    this.lines = copy(this.lines, new Uint32Array(length));
    this.columns = copy(this.columns, new Uint16Array(length));
    this.flags = copy(this.flags, new Uint8Array(length));
  }

  offset(row: number): number {
    return this.offsets[row]!;
  }
  file(row: number): number {
    return this.fileNumbers[row]!;
  }
  line(row: number): number {
    return this.lines[row]!;
  }
  column(row: number): number {
    return this.columns[row]!;
  }
  isStmt(row: number): boolean {
    return (this.flags[row]! & isStmtFlag) !== 0;
  }
  prologueEnd(row: number): boolean {
    return (this.flags[row]! & prologueEndFlag) !== 0;
  }
  address(sequence: LineSequence, row: number): bigint {
    return sequence.low + BigInt(this.offsets[row]!);
  }

  sequenceAt(address: bigint): LineSequence | undefined {
    let low = 0;
    let high = this.sequences.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.sequences[middle]!.low <= address) low = middle + 1;
      else high = middle;
    }
    // Sequences of one table do not overlap, except in broken files.
    for (let i = low - 1; i >= 0 && i > low - 4; i--) {
      if (address < this.sequences[i]!.high) return this.sequences[i];
    }
    return undefined;
  }

  /**
   * The row in effect at an address of the sequence and the row where the next address begins. Of several rows for one
   * address the last counts, but one that begins a statement wins over one that does not.
   */
  rowAt(sequence: LineSequence, address: bigint): { row: number; first: number; next: number } {
    const offset = Number(address - sequence.low);
    let low = sequence.first;
    let high = sequence.last;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.offsets[middle]! <= offset) low = middle + 1;
      else high = middle;
    }
    return this.group(sequence, Math.max(low - 1, sequence.first));
  }

  /** The rows that share the address of `member`: the one in effect, the first, and the row behind them. */
  group(sequence: LineSequence, member: number): { row: number; first: number; next: number } {
    const offset = this.offsets[member]!;
    let first = member;
    while (first > sequence.first && this.offsets[first - 1] === offset) first--;
    let next = member + 1;
    while (next < sequence.last && this.offsets[next] === offset) next++;
    let row = next - 1;
    while (row > first && !this.isStmt(row)) row--;
    return { row: this.isStmt(row) ? row : next - 1, first, next };
  }
}

/** A line program: header read at construction, rows on demand. */
export class LineTable extends LineHeader {
  /** Runs the program. A malformed end keeps the complete sequences before it. */
  rows(): LineRows {
    const rows = new LineRows();
    try {
      this.run(rows);
    } catch (error) {
      this.sections.warnings.add(error instanceof Error ? error.message : String(error));
    }
    rows.sequences.sort((a, b) => (a.low < b.low ? -1 : a.low > b.low ? 1 : 0));
    rows.trim();
    return rows;
  }

  /** DWARF 5, 6.2.5 "The Line Number Program". */
  private run(rows: LineRows): void {
    const { contents } = this;
    const cursor = new Cursor(contents, this.program, contents.length, '.debug_line', this.offset);
    const { minimumInstruction, operationsPerInstruction, lineBase, lineRange } = this;
    const opcodeBase = this.opcodeLengths.length;
    let base = 0n;
    let first = rows.count;
    let offset = 0;
    let operation = 0;
    let file = 1;
    let line = 1;
    let column = 0;
    let isStmt = this.defaultIsStmt;
    let prologueEnd = false;
    let ordered = true;

    const advance = (count: number): void => {
      if (operationsPerInstruction === 1) {
        offset += minimumInstruction * count;
      } else {
        offset += minimumInstruction * Math.floor((operation + count) / operationsPerInstruction);
        operation = (operation + count) % operationsPerInstruction;
      }
      if (!(offset <= Number.MAX_SAFE_INTEGER)) cursor.fail('an address advance below 2^53');
    };
    const emit = (): void => {
      if (rows.count > first && offset < rows.offset(rows.count - 1)) ordered = false;
      rows.push(offset, file, line, column, isStmt, prologueEnd);
      prologueEnd = false;
    };
    const endSequence = (): void => {
      emit();
      const last = rows.count - 1;
      const origin = rows.offset(first);
      const low = base + BigInt(origin);
      const high = base + BigInt(offset);
      const discarded = low === 0n ? !this.sections.codeAtZero : high >= 1n << 64n;
      if (ordered && last > first && !discarded && high > low) {
        rows.sequences.push({ low: base, high, first, last });
      } else {
        rows.count = first;
      }
      first = rows.count;
      base = 0n;
      offset = operation = column = 0;
      file = line = 1;
      isStmt = this.defaultIsStmt;
      ordered = true;
    };

    while (cursor.remaining > 0) {
      const opcode = cursor.u8();
      if (opcode >= opcodeBase) {
        if (lineRange === 0) cursor.fail('a line range other than 0');
        const adjusted = opcode - opcodeBase;
        advance(Math.floor(adjusted / lineRange));
        line += lineBase + (adjusted % lineRange);
        emit();
        continue;
      }
      switch (opcode) {
        case 0: {
          const length = cursor.uleb();
          const next = cursor.position + length;
          if (length === 0) break;
          if (length > cursor.remaining) cursor.fail('an extended opcode that fits into the table');
          switch (cursor.u8()) {
            case 1: // end_sequence
              endSequence();
              break;
            case 2: {
              // set_address
              const address = cursor.unsigned(length - 1);
              if (rows.count === first) {
                base = address;
                offset = 0;
              } else {
                const distance = address - base;
                if (distance < 0n || distance > BigInt(Number.MAX_SAFE_INTEGER)) ordered = false;
                else offset = Number(distance);
              }
              operation = 0;
              break;
            }
            case 3: // define_file
              if (this.files.length < 1_000_000) this.readFile(cursor, cursor.string());
              break;
            default: // set_discriminator and extensions
          }
          cursor.position = next;
          break;
        }
        case 1: // copy
          emit();
          break;
        case 2: // advance_pc
          advance(cursor.uleb());
          break;
        case 3: // advance_line
          line += cursor.sleb();
          if (!Number.isSafeInteger(line)) cursor.fail('a line number below 2^53');
          break;
        case 4: // set_file
          file = cursor.uleb();
          break;
        case 5: // set_column
          column = cursor.uleb();
          break;
        case 6: // negate_stmt
          isStmt = !isStmt;
          break;
        case 7: // set_basic_block
          break;
        case 8: // const_add_pc
          if (lineRange === 0) cursor.fail('a line range other than 0');
          advance(Math.floor((255 - opcodeBase) / lineRange));
          break;
        case 9: // fixed_advance_pc
          offset += cursor.u16();
          operation = 0;
          break;
        case 10: // set_prologue_end
          prologueEnd = true;
          break;
        case 11: // set_epilogue_begin
          break;
        default: // set_isa and unknown ones: the header says how many operands they have
          for (let i = this.opcodeLengths[opcode]!; i > 0; i--) cursor.skipLeb();
      }
    }
    rows.count = first;
  }
}
