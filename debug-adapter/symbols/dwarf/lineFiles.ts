import { baseName, directoryName, isAbsolute, joinPaths } from '../paths';
import { SharedWork } from '../sharedWork';
import { Growing } from './growing';
import { LineHeader } from './lineHeader';
import { DebugSections } from './sections';
import { messageOf, StringReader } from './unit';

/** A file as one line table names it. */
export interface FileUse {
  /** Offset of the table in .debug_line. */
  table: number;
  /** The file's number there. */
  number: number;
}

/** Tables whose headers are read between two pauses. */
const STEP = 4;
/** Tables searched between two pauses: each names hundreds of files. */
const SEARCH_STEP = 256;

/**
 * Which source files the line tables of an object file name, from their headers alone. Every unit of a kernel names hundreds of
 * headers, so that a file has a number here and each table a list of numbers.
 */
export class LineFiles {
  /** Paths as compiled, by number, each once. */
  readonly paths: string[] = [];
  /** Numbers of files by the last segment of their path. */
  private readonly byName = new Map<string, number[]>();
  /** Numbers by path, and by directory and name: joining paths takes time. */
  private readonly numbers = new Map<string, number>();
  private readonly inDirectories = new Map<string, Map<string, number>>();
  /** Of each table: its offset, the number of its first file (0 or 1), where its files are in `files`. */
  private readonly tables: { offset: number; firstFile: number; start: number }[] = [];
  private readonly files = new Growing((length) => new Uint32Array(length));
  private readonly reading = new SharedWork(() => this.read());

  constructor(
    private readonly sections: DebugSections,
    private readonly strings: StringReader,
    /** Path of the object file: what relative compilation directories are relative to. */
    private readonly objectPath: string,
    /** Compilation directory of the unit whose table is at an offset; asked before DWARF 5 only. */
    private readonly compilationDirectory: (table: number) => string,
  ) {}

  /** Reads the headers of all tables; stops at the first that is malformed. */
  prepare(): Generator<void, void> {
    return this.reading.run();
  }

  private *read(): Generator<void, void> {
    const size = this.sections.size('.debug_line');
    try {
      for (let offset = 0; offset < size;) {
        if (this.tables.length % STEP === 0) yield;
        const header = new LineHeader(this.sections, this.strings, offset);
        this.add(header);
        offset = header.end;
      }
    } catch (error) {
      this.sections.warnings.add(messageOf(error));
    }
    this.numbers.clear();
    this.inDirectories.clear();
  }

  private add(header: LineHeader): void {
    const { offset, firstFile } = header;
    this.tables.push({ offset, firstFile, start: this.files.length });
    const resolver = new PathResolver(header, this.objectPath, this.compilationDirectory);
    const directories = new Map<number, Map<string, number>>();
    header.files.forEach((name, index) => {
      const directory = header.fileDirectories[index]!;
      let known = directories.get(directory);
      if (!known) {
        const path = resolver.directory(directory);
        known = this.inDirectories.get(path);
        if (!known) this.inDirectories.set(path, (known = new Map()));
        directories.set(directory, known);
      }
      let number = known.get(name);
      if (number === undefined) known.set(name, (number = this.numberOf(resolver.path(index))));
      this.files.push(number);
    });
  }

  private numberOf(path: string): number {
    let number = this.numbers.get(path);
    if (number === undefined) {
      number = this.paths.push(path) - 1;
      this.numbers.set(path, number);
      const name = baseName(path);
      const same = this.byName.get(name);
      if (same) same.push(number);
      else this.byName.set(name, [number]);
    }
    return number;
  }

  /** Paths whose last segment is `name`. Asked after `prepare`. */
  named(name: string): string[] {
    return (this.byName.get(name) ?? []).map((number) => this.paths[number]!);
  }

  /** Where files are used, in section order. Asked after `prepare`. */
  *usesOf(name: string, paths: ReadonlySet<string>): Generator<void, FileUse[]> {
    const wanted = new Set((this.byName.get(name) ?? []).filter((number) => paths.has(this.paths[number]!)));
    const uses: FileUse[] = [];
    const { tables, files } = this;
    for (let table = 0; wanted.size > 0 && table < tables.length; table++) {
      if (table % SEARCH_STEP === 0) yield;
      const { offset, firstFile, start } = tables[table]!;
      const end = tables[table + 1]?.start ?? files.length;
      for (let i = start; i < end; i++) {
        if (wanted.has(files.items[i]!)) uses.push({ table: offset, number: i - start + firstFile });
      }
    }
    return uses;
  }
}

/** Makes paths of a table's directories and files. */
export class PathResolver {
  constructor(
    private readonly header: Pick<LineHeader, 'offset' | 'version' | 'directories' | 'files' | 'fileDirectories'>,
    private readonly objectPath: string,
    private readonly compilationDirectory: (table: number) => string,
  ) {}

  /** The path of a directory by its number, absolute where that is possible. */
  directory(number: number): string {
    const { header } = this;
    const directory = header.directories[number] ?? '';
    if (isAbsolute(directory)) return joinPaths(directory);
    const compilation = header.version >= 5 ? (header.directories[0] ?? '') : this.compilationDirectory(header.offset);
    return joinPaths(directoryName(this.objectPath), compilation, number === 0 ? '' : directory);
  }

  /** The path of a file by its index; '' when the table has no such file. */
  path(index: number): string {
    const name = this.header.files[index];
    if (name === undefined) return '';
    return isAbsolute(name) ? joinPaths(name) : joinPaths(this.directory(this.header.fileDirectories[index]!), name);
  }
}
