/** Files and paths of the desktop. */
import { type WriteStream, closeSync, createWriteStream, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { open, readFile, rename, unlink } from 'node:fs/promises';
import path from 'node:path';
import type { FileReplacement, Host, OpenFile } from '../engine';
import { saveMemory } from './saveMemory';
import { openShare } from './share';
import { openStreams } from './streams';
import { zlib } from './zlib';

/** undefined for a file that is not there; else throws the reason in words. */
function absent(error: unknown): undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
  if (code === 'EISDIR') throw new Error('it is a folder');
  if (code === 'EACCES') throw new Error('permission denied');
  throw error;
}

/** A file of any size, read by ranges. Reads are short, and what is read often is in the system's cache. */
function openSource(name: string, write: boolean): OpenFile {
  const file = openSync(name, write ? 'r+' : 'r');
  const stat = fstatSync(file);
  if (stat.isDirectory()) {
    closeSync(file);
    throw Object.assign(new Error(), { code: 'EISDIR' });
  }
  const size = stat.size;
  let open = true;
  return {
    size,
    read(offset, length) {
      if (!(offset >= 0 && length >= 0 && offset + length <= size)) {
        throw new RangeError(`${name}: expected ${length} bytes at offset ${offset}, the file has ${size}`);
      }
      if (!open) throw new Error(`${name}: the file is closed`);
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length;) {
        const count = readSync(file, bytes, done, length - done, offset + done);
        if (count === 0) throw new Error(`${name}: the file has become shorter than ${offset + length} bytes`);
        done += count;
      }
      return bytes;
    },
    ...(write ? { write: (offset, data) => writeAll(file, offset, data) } : {}),
    close() {
      if (open) closeSync(file);
      open = false;
    },
  };
}

function writeAll(file: number, offset: number, data: Uint8Array): void {
  for (let done = 0; done < data.length;) done += writeSync(file, data, done, data.length - done, offset + done);
}

/** Streams that are waited for. */
const draining = new WeakMap<WriteStream, Promise<void>>();

/** Resolves once a stream takes more, or never will. */
function drained(stream: WriteStream): Promise<void> {
  if (stream.destroyed) return Promise.resolve();
  let promise = draining.get(stream);
  if (!promise) {
    promise = new Promise((resolve) => {
      const events = ['drain', 'close', 'error'];
      const done = (): void => {
        for (const event of events) stream.off(event, done);
        draining.delete(stream);
        resolve();
      };
      for (const event of events) stream.on(event, done);
    });
    draining.set(stream, promise);
  }
  return promise;
}

/** Written under another name in the same folder, which is renamed at the end. */
async function replaceFile(name: string): Promise<FileReplacement> {
  const temporary = `${name}.${process.pid}-${Date.now().toString(36)}.part`;
  const file = await open(temporary, 'wx').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') throw new Error(`there is no folder '${path.dirname(name)}'`);
    throw error;
  });
  return {
    async write(data) {
      await file.writeFile(data);
    },
    async commit() {
      await file.sync();
      await file.close();
      await rename(temporary, name);
    },
    async discard() {
      await file.close().catch(() => undefined);
      await unlink(temporary).catch(() => undefined);
    },
  };
}

export const nodeHost: Host = {
  cwd: () => process.cwd(),
  resolve: (base, name) => path.resolve(base, name),
  async readFile(name) {
    try {
      // Not a Buffer, whose slice() is another, and not a copy.
      const { buffer, byteOffset, byteLength } = await readFile(name);
      return new Uint8Array(buffer, byteOffset, byteLength);
    } catch (error) {
      return absent(error);
    }
  },
  async openFile(name, write = false) {
    try {
      return openSource(name, write);
    } catch (error) {
      return absent(error);
    }
  },
  replaceFile,
  zlib,
  async openShare(name, write) {
    try {
      return await openShare(name, write);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') throw new Error('it is not a folder');
      return absent(error);
    }
  },
  openStreams,
  saveMemory,
  async createFile(name) {
    const stream = createWriteStream(name);
    await new Promise<void>((resolve, reject) => {
      stream.once('open', () => resolve());
      stream.once('error', (error) => reject(new Error(`console.file: can't write '${name}': ${error.message}`)));
    });
    stream.on('error', () => undefined); // a full disk must not end the session
    return {
      write: (data) => (stream.write(data) ? undefined : drained(stream)),
      close: () => new Promise((resolve) => stream.end(() => resolve())),
    };
  },
};
