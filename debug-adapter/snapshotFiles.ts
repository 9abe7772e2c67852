/** Snapshots as files: saved, read, and restored into a session's machine. */
import type { FileReplacement, Host, OpenFile } from './engine';
import { messageOf } from './errors';
import { inSlices } from './introspection/slices';
import { Progress } from './progress';
import { baseName } from './symbols/paths';
import type { SnapshotContents, SnapshotWork, Target } from './target';

/** Bytes that are read at a time. */
const PIECE = 1 << 20;

/** A snapshot's file. undefined: there is none. @throws the system's reason */
export async function readSnapshot(host: Host, path: string): Promise<SnapshotContents | undefined> {
  const name = baseName(path);
  const { zlib } = host;
  if (!host.openFile) {
    const bytes = await host.readFile(path);
    return bytes && { name, pieces: [bytes], zlib };
  }
  const file = await host.openFile(path);
  if (!file) return undefined;
  try {
    return { name, pieces: await inSlices(piecesOf(file)), zlib };
  } finally {
    file.close?.();
  }
}

function* piecesOf(file: OpenFile): Generator<void, Uint8Array[]> {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < file.size; at += PIECE) {
    pieces.push(file.read(at, Math.min(PIECE, file.size - at)));
    yield;
  }
  return pieces;
}

/** Saves a machine into a file, whose earlier contents stay until all of it is written. Returns its size in bytes. */
export async function writeSnapshot(
  host: Host,
  path: string,
  target: Target,
  work: SnapshotWork = {},
): Promise<number> {
  if (!target.save || !host.replaceFile) throw new Error('this engine saves no snapshots');
  let file: FileReplacement | undefined;
  let size = 0;
  try {
    // The machine stands still from here on; the file is made when there is something for it.
    await target.save(async (data) => {
      file ??= await host.replaceFile!(path);
      size += data.length;
      await file.write(data);
    }, work);
    await file?.commit();
  } catch (error) {
    await file?.discard();
    throw error;
  }
  return size;
}

export interface SnapshotPlaces {
  host: Host;
  /** Makes a path of launch.json or the debug console absolute. */
  resolve(path: string): string;
  /** The file that is meant where none is named, absolute. */
  file: string;
}

/** The snapshots of a session. */
export class SessionSnapshots {
  private work: Progress | undefined;

  constructor(
    private readonly target: Target,
    private readonly places: SnapshotPlaces,
    private readonly send: (event: string, body: unknown) => void,
    /** The machine is another one than before: everything that the client shows is old. */
    private readonly restored: (text: string) => Promise<void>,
  ) {}

  /** @param path absent or empty: the session's own file. Returns what to tell the user */
  async save(path = '', signal?: AbortSignal): Promise<string> {
    const { host } = this.places;
    const name = this.path(path);
    const size = await this.doing(`Saving ${baseName(name)}`, `save: can't write '${name}'`, signal, (work) =>
      writeSnapshot(host, name, this.target, work),
    );
    return `saved icount ${this.target.icount()} to '${name}' (${(size / 2 ** 20).toFixed(1)} MiB)`;
  }

  /** As save(). */
  async restore(path = '', signal?: AbortSignal): Promise<string> {
    const { target, places } = this;
    const name = this.path(path);
    const remarks = await this.doing(`Restoring ${baseName(name)}`, `restore: '${name}'`, signal, async (work) => {
      if (!target.restore) throw new Error('this engine restores no snapshots');
      const file = await readSnapshot(places.host, name);
      if (!file) throw new Error('there is no such file');
      return target.restore(file, work);
    });
    await this.restored(`Restored from ${baseName(name)}`);
    return [`restored icount ${target.icount()} from '${name}'; history begins here`, ...remarks].join('\n');
  }

  /** The client has cancelled the progress with this id. */
  cancel(progressId: string): void {
    this.work?.cancel(progressId);
  }

  private path(path: string): string {
    return path.trim() === '' ? this.places.file : this.places.resolve(path.trim());
  }

  private async doing<T>(
    title: string,
    what: string,
    signal: AbortSignal | undefined,
    action: (work: SnapshotWork) => Promise<T>,
  ): Promise<T> {
    if (this.target.running()) throw new Error(`${what}: the guest is running; pause it first`);
    if (this.work) throw new Error(`${what}: another snapshot is being saved or restored`);
    const work = new Progress(this.send, title, { outer: signal });
    this.work = work;
    try {
      return await action({ progress: (done) => work.update(done), signal: work.signal });
    } catch (error) {
      throw new Error(`${what}: ${messageOf(error)}`);
    } finally {
      this.work = undefined;
      work.end();
    }
  }
}
