/** Files and paths of the desktop. */
import { createWriteStream } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Host } from '../engine';

export const nodeHost: Host = {
  cwd: () => process.cwd(),
  resolve: (base, name) => path.resolve(base, name),
  async readFile(name) {
    try {
      return new Uint8Array(await readFile(name));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
      if (code === 'EISDIR') throw new Error('it is a folder');
      if (code === 'EACCES') throw new Error('permission denied');
      throw error;
    }
  },
  async createFile(name) {
    const stream = createWriteStream(name);
    await new Promise<void>((resolve, reject) => {
      stream.once('open', () => resolve());
      stream.once('error', (error) => reject(new Error(`console.file: can't write '${name}': ${error.message}`)));
    });
    stream.on('error', () => undefined); // a full disk must not end the session
    return {
      write: (data) => void stream.write(data),
      close: () => new Promise((resolve) => stream.end(() => resolve())),
    };
  },
  async writeAt(name, offset, data) {
    const file = await open(name, 'r+');
    try {
      await file.write(data, 0, data.length, offset);
    } finally {
      await file.close();
    }
  },
};
