/** What can be asked of a shared folder, carried out on this system's files. One function a request: see shareMessages.ts. */
import { constants, type BigIntStats } from 'node:fs';
import * as fs from 'node:fs/promises';
import { Refusal } from '../../emulator-core/ninep/errno';
import { byteString } from '../../emulator-core/ninep/layout';
import { Create, Open, Set, type Attributes, type Entry, type OpAnswer, type OpName, type OpRequest, type Place } from '../../emulator-core/ninep/shareMessages'; // prettier-ignore
import type { Found, ShareFolder } from './shareFolder';

/** Bytes of a directoryEntry without its name: qid[13] offset[8] type[1] and the name's length[2]. */
const ENTRY_BYTES = 24;
/** Of one read: more than any guest's message holds. */
const MAX_READ = 1 << 20;
/** Entries that are looked at at the same time. */
const BATCH = 16;
/** A guest's own files stay readable and writable to it: it may write into a file that it has just made read-only for others. */
const OWNER_FILE = 0o600;
const OWNER_FOLDER = 0o700;
const PERMISSIONS = 0o777;
/** Cookies of '.' and '..'; those of names are larger. */
const DOT = 1n;
const DOTDOT = 2n;

export interface OpContext {
  folder: ShareFolder;
  /** The device number of the root, for inode(). */
  device: bigint;
}

type Ops = { [O in OpName]: (context: OpContext, request: OpRequest<O>) => Promise<OpAnswer<O>> };

/** Inode numbers are unique on one file system; on others than the root's, what is mixed in keeps them apart. */
function inode({ device }: OpContext, stat: BigIntStats): bigint {
  return BigInt.asUintN(64, stat.dev === device ? stat.ino : stat.ino ^ ((stat.dev ^ device) << 40n));
}

function attributesOf(context: OpContext, stat: BigIntStats): Attributes {
  const unsigned = (value: bigint | undefined): bigint => BigInt.asUintN(64, value ?? 0n);
  const short = (value: bigint): number => Number(BigInt.asUintN(32, value));
  return {
    ...{ inode: inode(context, stat), mode: short(stat.mode), uid: short(stat.uid), gid: short(stat.gid) },
    ...{ nlink: unsigned(stat.nlink), size: unsigned(stat.size), blksize: unsigned(stat.blksize || 4096n) },
    // Windows does not say.
    blocks: unsigned(stat.blocks ?? (stat.size + 511n) / 512n),
    ...{ atime: unsigned(stat.atimeNs), mtime: unsigned(stat.mtimeNs) },
    ...{ ctime: unsigned(stat.ctimeNs), btime: unsigned(stat.birthtimeNs) },
  };
}

/** A file that is still the one that it was. */
function at<T>(context: OpContext, place: Place, use: (found: Found) => Promise<T>): Promise<T> {
  return context.folder.with(place.path, async (found) => {
    if (place.inode !== 0n && inode(context, found.stat) !== place.inode) throw new Refusal('ESTALE');
    return use(found);
  });
}

/** A folder in which something is to be changed. */
function inFolder<T>(context: OpContext, place: Place, use: (folder: Found) => Promise<T>): Promise<T> {
  return at(context, place, async (found) => {
    if (!found.stat.isDirectory()) throw new Refusal('ENOTDIR');
    return use(found);
  });
}

function find(context: OpContext, place: Place): Promise<Attributes> {
  return at(context, place, async ({ stat }) => attributesOf(context, stat));
}
function child({ path }: Place, name: string): Place {
  return { path: [...path, name], inode: 0n };
}

async function opened<T>(found: Found, flags: number, use: (handle: fs.FileHandle) => Promise<T>): Promise<T> {
  const handle = await found.open(flags);
  try {
    return await use(handle);
  } finally {
    await handle.close();
  }
}

/** An offset as Node takes it. */
function position(offset: bigint): number {
  if (offset > BigInt(Number.MAX_SAFE_INTEGER)) throw new Refusal('EFBIG');
  return Number(offset);
}

export const SHARE_OPS: Ops = {
  async attributes(context, { places }) {
    const found: Attributes[] = [];
    for (const [i, place] of places.entries()) {
      try {
        found.push(await find(context, place));
      } catch (error) {
        if (i === 0) throw error;
        break;
      }
    }
    return { found };
  },

  async readlink(context, { place }) {
    const { stat, name } = await at(context, place, async (found) => ({ stat: found.stat, name: place.path.at(-1) }));
    if (!stat.isSymbolicLink() || name === undefined) throw new Refusal('EINVAL');
    const folder: Place = { path: place.path.slice(0, -1), inode: 0n };
    return inFolder(context, folder, async (found) => {
      return { target: byteString(await fs.readlink(found.entry(name), { encoding: 'buffer' })) };
    });
  },

  async statfs(context) {
    return context.folder.with([], async ({ path }) => {
      const { bsize, blocks, bfree, bavail, files, ffree } = await fs.statfs(path, { bigint: true });
      return { bsize: Number(bsize), blocks, bfree, bavail, files, ffree };
    });
  },

  open: (context, { place, flags }) =>
    at(context, place, async (found) => {
      const folder = found.stat.isDirectory();
      if (flags & Open.directory && !folder) throw new Refusal('ENOTDIR');
      if (folder && flags & (Open.write | Open.truncate)) throw new Refusal('EISDIR');
      if (flags & Open.truncate && !(flags & Open.write)) throw new Refusal('EINVAL');
      const access = [constants.O_RDONLY, constants.O_RDONLY, constants.O_WRONLY, constants.O_RDWR][flags & 3];
      return opened(found, access, async (handle) => {
        if (flags & Open.truncate) await handle.truncate(0);
        return { attributes: attributesOf(context, await handle.stat({ bigint: true })) };
      });
    }),

  read: (context, { place, offset, count }) =>
    at(context, place, (found) => {
      if (found.stat.isDirectory()) throw new Refusal('EISDIR');
      return opened(found, constants.O_RDONLY, async (handle) => {
        if (offset > BigInt(Number.MAX_SAFE_INTEGER)) return { data: new Uint8Array(0) };
        const data = new Uint8Array(Math.min(count, MAX_READ));
        const { bytesRead } = await handle.read(data, 0, data.length, Number(offset));
        return { data: data.subarray(0, bytesRead) };
      });
    }),

  readdir: (context, { place, after, room }) =>
    inFolder(context, place, async (found) => {
      const entries: Entry[] = [];
      let left = room;
      /** False when it does not fit any more. */
      const add = (name: string, cookie: bigint, stat: BigIntStats): boolean => {
        left -= ENTRY_BYTES + name.length;
        if (left < 0) return false;
        const { inode: number, mtime, mode } = attributesOf(context, stat);
        entries.push({ inode: number, mtime, mode, cookie, name });
        return true;
      };
      if (after < DOT && !add('.', DOT, found.stat)) throw new Refusal('EINVAL');
      if (after < DOTDOT) {
        const parent = await context.folder.with(place.path.slice(0, -1), async ({ stat }) => stat);
        if (!add('..', DOTDOT, parent)) return { entries };
      }
      const names = cookies(await fs.readdir(found.path, { encoding: 'buffer' })).filter(
        ({ cookie }) => cookie > after,
      );
      for (let i = 0; i < names.length; i += BATCH) {
        const batch = names.slice(i, i + BATCH);
        const stats = await Promise.all(batch.map(({ name }) => entryStat(found, name)));
        for (const [n, { name, cookie }] of batch.entries()) {
          const stat = stats[n];
          if (stat && !add(name, cookie, stat)) return { entries: checkProgress(entries) };
        }
      }
      return { entries };
    }),

  write: (context, { place, offset, data }) =>
    at(context, place, (found) => {
      if (found.stat.isDirectory()) throw new Refusal('EISDIR');
      return opened(found, constants.O_WRONLY, async (handle) => {
        const { bytesWritten } = await handle.write(data, 0, data.length, position(offset));
        return { count: bytesWritten };
      });
    }),

  async create(context, { place, name, flags, mode }) {
    const exclusive = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | (constants.O_NOFOLLOW ?? 0);
    const created = await inFolder(context, place, async (folder) => {
      try {
        const handle = await fs.open(folder.entry(name), exclusive, (mode & PERMISSIONS) | OWNER_FILE);
        await handle.close();
        return true;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || flags & Create.exclusive) throw error;
        return false;
      }
    });
    if (created) return { attributes: await find(context, child(place, name)) };
    const how = Open.write | (flags & Create.truncate ? Open.truncate : 0);
    return SHARE_OPS.open(context, { place: child(place, name), flags: how });
  },

  async mkdir(context, { place, name, mode }) {
    await inFolder(context, place, (folder) => fs.mkdir(folder.entry(name), (mode & PERMISSIONS) | OWNER_FOLDER));
    return { attributes: await find(context, child(place, name)) };
  },

  async symlink(context, { place, name, target }) {
    const text =
      process.platform === 'win32' ? Buffer.from(target, 'latin1').toString() : Buffer.from(target, 'latin1');
    await inFolder(context, place, (folder) => fs.symlink(text, folder.entry(name)));
    return { attributes: await find(context, child(place, name)) };
  },

  async unlink(context, { place, name, directory }) {
    await inFolder(context, place, (folder) => (directory ? fs.rmdir : fs.unlink)(folder.entry(name)));
    return {};
  },

  async rename(context, { place, name, to, newName }) {
    await inFolder(context, place, (from) =>
      inFolder(context, to, (into) => fs.rename(from.entry(name), into.entry(newName))),
    );
    return {};
  },

  async setattr(context, request) {
    await at(context, request.place, (found) => setAttributes(found, request));
    return {};
  },

  fsync: (context, { place, dataOnly }) =>
    at(context, place, (found) =>
      opened(found, constants.O_RDONLY, async (handle) => {
        await (dataOnly ? handle.datasync() : handle.sync());
        return {};
      }),
    ),
};

async function setAttributes(found: Found, request: OpRequest<'setattr'>): Promise<void> {
  const { valid, mode, uid, gid, size, atime, mtime } = request;
  const { stat, path } = found;
  if (!stat.isFile() && !stat.isDirectory()) throw new Refusal(stat.isSymbolicLink() ? 'EOPNOTSUPP' : 'EPERM');
  // Files belong to whom the adapter runs as.
  if (valid & Set.uid && BigInt(uid) !== stat.uid) throw new Refusal('EPERM');
  if (valid & Set.gid && BigInt(gid) !== stat.gid) throw new Refusal('EPERM');
  if (valid & Set.size) {
    if (stat.isDirectory()) throw new Refusal('EISDIR');
    await opened(found, constants.O_WRONLY, (handle) => handle.truncate(position(size)));
  }
  if (valid & Set.mode) await fs.chmod(path, mode & PERMISSIONS);
  if (valid & (Set.atime | Set.mtime)) {
    const now = Date.now() / 1000;
    const chosen = (set: number, explicit: number, value: bigint, present: bigint): number => {
      if (!(valid & set)) return seconds(present);
      return valid & explicit ? seconds(BigInt.asIntN(64, value)) : now;
    };
    const access = chosen(Set.atime, Set.atimeSet, atime, stat.atimeNs);
    await fs.utimes(path, access, chosen(Set.mtime, Set.mtimeSet, mtime, stat.mtimeNs));
  }
}

/** As Node takes times: to some hundred nanoseconds. */
function seconds(ns: bigint): number {
  return Number(ns / 1000n) / 1e6;
}

async function entryStat(folder: Found, name: string): Promise<BigIntStats | undefined> {
  try {
    return await fs.lstat(folder.entry(name), { bigint: true });
  } catch {
    // Removed meanwhile, or a name that no request can have.
    return undefined;
  }
}

/** A reader that gets nothing takes it for the end. */
function checkProgress(entries: Entry[]): Entry[] {
  if (entries.length === 0) throw new Refusal('EINVAL');
  return entries;
}

/**
 * Names by ascending cookie, which depends on the name only: reading goes on rightly behind any entry although others were removed, as
 * `rm -r` does. Two names of the same 52 bits would be one entry too few at the border of two reads.
 */
function cookies(names: Buffer[]): { name: string; cookie: bigint }[] {
  const hashed = names.map((bytes) => ({ name: byteString(bytes), hash: hashOf(bytes) }));
  hashed.sort((a, b) => a.hash - b.hash);
  return hashed.map(({ name, hash }) => ({ name, cookie: BigInt(hash) + DOTDOT + 1n }));
}

/** FNV-1a of 32 bits, twice with different beginnings; 52 bits. */
function hashOf(bytes: Uint8Array): number {
  let low = 0x811c9dc5;
  let high = 0x01000193;
  for (const byte of bytes) {
    low = Math.imul(low ^ byte, 0x01000193);
    high = Math.imul(high ^ byte, 0x01000193) + 0x9e3779b9;
  }
  return (high >>> 12) * 2 ** 32 + (low >>> 0);
}
