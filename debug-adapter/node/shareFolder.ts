/**
 * A folder whose files a guest names, which may be hostile: whatever it asks for, and however what is in the folder changes meanwhile, nothing
 * outside of the folder is found. Symbolic links are never followed: the guest follows them itself.
 *
 * On Linux a file is first pinned by a descriptor that opens nothing (O_PATH), and the kernel says where that file is: it must be where it was
 * looked for, which it is not if a link was followed. What is then done to it goes by that descriptor (/proc/self/fd/N). Elsewhere every
 * folder on the way is looked at before, and a file again after it was opened.
 */
import { constants } from 'node:fs';
import { lstat, open, readlink, realpath, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import type { BigIntStats } from 'node:fs';
import { Refusal } from '../../emulator-core/ninep/errno';
import { bytesOf } from '../../emulator-core/ninep/layout';
import { checkName } from '../../emulator-core/ninep/paths';

/** asm-generic/fcntl.h; Node has no name for it. */
const O_PATH = 0o10000000;
/** Nothing waits, a link is not followed; 0 where the system has no such flag. */
const SAFE = (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);
const DESCRIPTORS = '/proc/self/fd';

/** A path for a system call: bytes, since names need not be UTF-8; text on Windows. */
export type SystemPath = string | Buffer;

/** A file that was found. Valid until it is closed. */
export interface Found {
  readonly stat: BigIntStats;
  /** Leads to this file, unless it is a symbolic link. */
  readonly path: SystemPath;
  /** An entry of this folder, which need not be there. For calls that do not follow a link at the end. */
  entry(name: string): SystemPath;
  /** Opens a regular file or a folder; anything else is refused before it is touched. */
  open(flags: number): Promise<FileHandle>;
  close(): Promise<void>;
}

export class ShareFolder {
  private constructor(
    /** Without any link in it. */
    private readonly root: string,
    private readonly pinned: boolean,
  ) {}

  /** @throws with the system's reason: ENOENT, ENOTDIR */
  static async at(name: string): Promise<ShareFolder> {
    const root = await realpath(name);
    if (!(await lstat(root)).isDirectory()) throw Object.assign(new Error('it is not a folder'), { code: 'ENOTDIR' });
    return new ShareFolder(root, await canPin(root));
  }

  /** Runs `use` with a file. @param names from the root on @throws Refusal, and what the system says */
  async with<T>(names: readonly string[], use: (found: Found) => Promise<T>): Promise<T> {
    names.forEach(checkHostName);
    const found = await (this.pinned ? this.pin(names) : this.look(names));
    try {
      return await use(found);
    } finally {
      await found.close();
    }
  }

  private systemPath(names: readonly string[]): SystemPath {
    return join(this.root, names);
  }

  private async pin(names: readonly string[]): Promise<Found> {
    const expected = this.systemPath(names) as Buffer;
    const handle = await open(expected, O_PATH | constants.O_NOFOLLOW);
    const self = `${DESCRIPTORS}/${handle.fd}`;
    try {
      const actual = await readlink(self, { encoding: 'buffer' });
      if (!actual.equals(expected)) throw new Refusal('ELOOP');
      const stat = await handle.stat({ bigint: true });
      return {
        stat,
        path: self,
        entry: (name) => join(self, [checkHostName(name)]),
        async open(flags) {
          checkKind(stat);
          // Follows the descriptor and nothing else.
          return open(self, flags | constants.O_NONBLOCK);
        },
        close: () => handle.close(),
      };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  private async look(names: readonly string[]): Promise<Found> {
    for (let i = 0; i < names.length; i++) {
      if (!(await lstat(this.systemPath(names.slice(0, i)))).isDirectory()) throw new Refusal('ENOTDIR');
    }
    const name = this.systemPath(names);
    const stat = await lstat(name, { bigint: true });
    await this.checkInside(names);
    return {
      stat,
      path: name,
      entry: (entry) => this.systemPath([...names, checkHostName(entry)]),
      open: async (flags) => {
        checkKind(stat);
        const handle = await open(name, flags | SAFE);
        try {
          const opened = await handle.stat({ bigint: true });
          if (opened.ino !== stat.ino || opened.dev !== stat.dev) throw new Refusal('ESTALE');
          await this.checkInside(names);
          return handle;
        } catch (error) {
          await handle.close();
          throw error;
        }
      },
      close: async () => undefined,
    };
  }

  /** The folder that a file is in is below the root, however it is spelled. */
  private async checkInside(names: readonly string[]): Promise<void> {
    const parent = await realpath(this.systemPath(names.slice(0, -1)), { encoding: 'utf8' });
    if (parent !== this.root && !parent.startsWith(this.root.endsWith(path.sep) ? this.root : this.root + path.sep)) {
      throw new Refusal('ELOOP');
    }
  }
}

/** Whether the system says of a descriptor where its file is. */
async function canPin(root: string): Promise<boolean> {
  if (process.platform !== 'linux') return false;
  const handle = await open(root, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW).catch(() => undefined);
  try {
    return handle !== undefined && (await readlink(`${DESCRIPTORS}/${handle.fd}`)) === root;
  } catch {
    return false;
  } finally {
    await handle?.close();
  }
}

/** Devices, pipes and sockets would do something when they are opened, or wait. */
function checkKind(stat: BigIntStats): void {
  if (stat.isSymbolicLink()) throw new Refusal('ELOOP');
  if (!stat.isFile() && !stat.isDirectory()) throw new Refusal('ENXIO');
}

/** Windows: "Naming Files, Paths, and Namespaces": streams, devices, and names that lead to others. */
const WINDOWS_NAMES = /[<>:"\\|?*\u0001-\u001f]|[ .]$|^(con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$)\s*(\.|$)/i;

/** A name that is one, here. @throws Refusal */
function checkHostName(name: string): string {
  checkName(name);
  if (process.platform === 'win32' && WINDOWS_NAMES.test(name)) throw new Refusal('EINVAL');
  return name;
}

function join(folder: string, names: readonly string[]): SystemPath {
  const below = names.map((name) => Buffer.from(bytesOf(name)));
  if (process.platform === 'win32') return path.join(folder, ...below.map((name) => name.toString('utf8')));
  const parts: Buffer[] = [Buffer.from(folder === '/' && names.length > 0 ? '' : folder)];
  for (const name of below) parts.push(Buffer.from('/'), name);
  return Buffer.concat(parts);
}
