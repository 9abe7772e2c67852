/** The seams of the adapter: what makes a Target, and what the machine that the adapter itself runs on offers. */
import type { ByteSource } from '../emulator-core/boot/byteSource';
import type { PlatformZlib } from '../emulator-core/platformZlib';
import type { OpenLink } from './engines/embedded/links';
import type { EmbeddedLaunch, Streams, StreamsWanted } from './engines/launch';
import type { Target } from './target';

export interface NamedFilter {
  name: string;
  description: string;
}

/** Makes machines. The names are needed before there is one: a client asks for exception filters first. */
export interface Engine {
  exitNames(): NamedFilter[];
  exceptionNames(): NamedFilter[];
  create(launch: EmbeddedLaunch): Promise<Target>;
}

/** A file of which pieces are read, and written if it was opened for that. */
export interface OpenFile extends ByteSource {
  /** Writes into the file, within its size. Throws with the system's reason. */
  write?(offset: number, data: Uint8Array): void;
}

/** A file that is written from its start to its end. */
export interface OutputFile {
  /** The promise resolves once the file takes more. */
  write(data: Uint8Array): Promise<void> | undefined;
  close(): Promise<void>;
}

export interface FileReplacement {
  write(data: Uint8Array): Promise<void>;
  commit(): Promise<void>;
  discard(): Promise<void>;
}

/** `most`: large debug information is read; `some`: it has been, and a guest runs; `none`: as usual. */
export type Saving = 'none' | 'some' | 'most';

/** Files and paths, given by the entry point: Node on the desktop, something else in a browser. */
export interface Host {
  cwd(): string;
  /** Joins `path` to `base` unless it is absolute. */
  resolve(base: string, path: string): string;
  /** undefined when there is no such file; throws with the system's reason when it can't be read. */
  readFile(path: string): Promise<Uint8Array | undefined>;
  /**
   * A file that is read by ranges, for large ones; undefined and throws as readFile. Without: they are read whole.
   * @param write it is also written to; else it is not
   */
  openFile?(path: string, write?: boolean): Promise<OpenFile | undefined>;
  /**
   * A file that takes the place of `path` once all of it is written: until commit(), `path` stays as it is, and after discard() as well.
   * Each throws with the system's reason.
   */
  replaceFile?(path: string): Promise<FileReplacement>;
  /** For snapshots. Without: the platform's DecompressionStream. */
  zlib?: PlatformZlib;
  /**
   * A folder for a guest; undefined and throws as readFile. Without: folders can't be shared.
   * @param write the guest may change what is in it
   */
  openShare?(path: string, write: boolean): Promise<OpenLink | undefined>;
  /** TCP on the loopback interface for a guest's network. Without: there is none. Throws the system's reason, with the `port`. */
  openStreams?(wanted: StreamsWanted): Promise<Streams>;
  /** How much memory counts, and how much speed. Without: there is no such choice. */
  saveMemory?(saving: Saving): void;
  /** Opens a file for the console's output, emptied. */
  createFile(path: string): Promise<OutputFile>;
}
