import { Form } from './constants';
import { readForm } from './forms';
import { Cursor } from './reader';
import { DebugSections, readFrom } from './sections';
import { StringReader } from './unit';

/** The header of a line program: its files, and what its program depends on. DWARF 5, 6.2.4 "The Line Number Program Header". */
export class LineHeader {
  readonly version: number;
  /** Offset in the section behind the table. */
  readonly end: number;
  /** Include directories; [0] is the compilation directory from DWARF 5 on, and unknown ('') before. */
  readonly directories: string[] = [];
  /** Names of files, and the numbers of their directories. */
  readonly files: string[] = [];
  readonly fileDirectories: number[] = [];
  /** Number of files[0]: 0 from DWARF 5 on, else 1. */
  readonly firstFile: number;
  /** Where its program begins, in `contents`. */
  protected readonly program: number;
  protected readonly minimumInstruction: number;
  protected readonly operationsPerInstruction: number;
  protected readonly defaultIsStmt: boolean;
  protected readonly lineBase: number;
  protected readonly lineRange: number;
  protected readonly opcodeLengths: number[] = [0];

  /** @throws DwarfError when the header is malformed */
  constructor(
    protected readonly sections: DebugSections,
    strings: StringReader,
    readonly offset: number,
  ) {
    const size = sections.size('.debug_line');
    const { length, is64, position } = readFrom(sections, '.debug_line', offset, (cursor) => {
      const start = cursor.position;
      const field = cursor.lengthField();
      const position = cursor.position - start;
      if (field.length > size - offset - position) {
        cursor.fail(`a unit of at most ${size - offset - position} bytes, not ${field.length},`);
      }
      return { ...field, position };
    });
    this.end = offset + position + length;
    const data = this.contents;
    const cursor = new Cursor(data, position, data.length, '.debug_line', offset);
    this.version = cursor.u16();
    if (this.version < 2 || this.version > 5) cursor.fail(`a line table of version 2 to 5, not ${this.version},`);
    let addressSize = sections.is64 ? 8 : 4;
    if (this.version >= 5) {
      addressSize = cursor.u8();
      cursor.skip(1); // segment selector size
    }
    const headerLength = cursor.offset(is64);
    if (headerLength > cursor.remaining) cursor.fail('a header that fits into the table');
    this.program = cursor.position + headerLength;
    const header = new Cursor(data, cursor.position, this.program, '.debug_line', offset);
    this.minimumInstruction = header.u8();
    this.operationsPerInstruction = this.version >= 4 ? Math.max(header.u8(), 1) : 1;
    this.defaultIsStmt = header.u8() !== 0;
    this.lineBase = header.i8();
    this.lineRange = header.u8();
    const opcodeBase = header.u8();
    for (let i = 1; i < opcodeBase; i++) this.opcodeLengths.push(header.u8());
    this.firstFile = this.version >= 5 ? 0 : 1;
    if (this.version >= 5) {
      const context = { version: 5, addressSize, is64 };
      readEntries(header, context, strings, (name) => this.directories.push(name));
      readEntries(header, context, strings, (name, directory) => this.pushFile(name, directory));
    } else {
      this.directories.push('');
      for (let name = header.string(); name !== ''; name = header.string()) this.directories.push(name);
      for (let name = header.string(); name !== ''; name = header.string()) this.readFile(header, name);
    }
  }

  /** The whole table, header and program. */
  protected get contents(): Uint8Array {
    return this.sections.range('.debug_line', this.offset, this.end - this.offset);
  }

  private pushFile(name: string, directory: number): void {
    this.files.push(name);
    this.fileDirectories.push(directory);
  }

  /** File entry of versions 2 to 4, behind its name: directory, time, length. */
  protected readFile(cursor: Cursor, name: string): void {
    const directory = cursor.uleb();
    cursor.skipLeb();
    cursor.skipLeb();
    this.pushFile(name, directory);
  }
}

/** Directory or file list of version 5. DWARF 5, 6.2.4.1 "Standard Content Descriptions". */
function readEntries(
  cursor: Cursor,
  context: { version: number; addressSize: number; is64: boolean },
  strings: StringReader,
  entry: (name: string, directory: number) => void,
): void {
  const formats: [content: number, form: number][] = [];
  const formatCount = cursor.u8();
  for (let i = 0; i < formatCount; i++) formats.push([cursor.uleb(), cursor.uleb()]);
  const count = cursor.uleb();
  // Entries of no size would let a header claim any number of them.
  const atLeast = formats.some(([, form]) => form !== Form.flagPresent && form !== Form.implicitConst) ? 1 : Infinity;
  if (count > 0 && count * atLeast > cursor.remaining) cursor.fail(`entries that fit into the header, not ${count},`);
  for (let i = 0; i < count; i++) {
    let name = '';
    let directory = 0;
    for (const [content, form] of formats) {
      const value = readForm(cursor, form, context);
      if (content === 1) {
        if (value.class === 'string') name = value.value;
        else if (value.class === 'stringOffset') name = strings.at(value.section, value.value);
      } else if (content === 2 && value.class === 'constant') {
        directory = Number(value.value);
      }
    }
    entry(name, directory);
  }
}
