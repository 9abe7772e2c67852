/**
 * What a share's device asks the folder outside, and the answers. Requests name files by their path from the share's root, so that nothing
 * outside has to be remembered from one to the next. Both begin with id[4]; then requests have op[1], answers errno[4] (0: done).
 */
import { Errno } from './errno';
import {
  data,
  list,
  Malformed,
  Reader,
  str,
  struct,
  u32,
  u64,
  u8,
  type Codec,
  type Layout,
  type Values,
} from './layout';
import { Writer } from '../writer';

/** More than any message of a device takes: the data of a read or write, and paths. */
export const MAX_MESSAGE_BYTES = 1 << 20;

/** A file: names from the root on (none: the root itself), and its inode as Attributes has it, to which it must still lead. 0: any. */
const place = struct({ path: list(str), inode: u64 });
export type Place = { path: string[]; inode: bigint };

/** struct stat; times are nanoseconds since 1970, two's complement. */
const attributes = struct({
  inode: u64,
  mode: u32,
  uid: u32,
  gid: u32,
  nlink: u64,
  size: u64,
  blksize: u64,
  blocks: u64,
  atime: u64,
  mtime: u64,
  ctime: u64,
  btime: u64,
});
export type Attributes = ReturnType<typeof attributes.read>;

/** `cookie`: entries behind this one have larger ones, whatever is created or removed meanwhile. */
const entry = struct({ inode: u64, mtime: u64, mode: u32, cookie: u64, name: str });
export type Entry = ReturnType<typeof entry.read>;

/** What `open` asks for. */
export const Open = { read: 1, write: 2, truncate: 4, directory: 8 } as const;
/** What `create` does with a file that is there already. */
export const Create = { exclusive: 1, truncate: 2 } as const;
/** What `setattr` sets: P9_SETATTR_*. */
export const Set = {
  mode: 0x001,
  uid: 0x002,
  gid: 0x004,
  size: 0x008,
  atime: 0x010,
  mtime: 0x020,
  ctime: 0x040,
  atimeSet: 0x080,
  mtimeSet: 0x100,
} as const;

function op<Q extends Layout, A extends Layout>(
  code: number,
  kind: { again: boolean; writes: boolean },
  request: Q,
  answer: A,
) {
  return { code, ...kind, request, answer, requests: struct(request), answers: struct(answer) };
}
/** `again`: doing it twice is as good as once. */
const reads = { again: true, writes: false };
const writes = { again: true, writes: true };
const changes = { again: false, writes: true };

// prettier-ignore
export const OPS = {
  /** Of several files, up to the first that is not there; an error only for the first. */
  attributes: op(1, reads, { places: list(place) }, { found: list(attributes) }),
  readlink: op(2, reads, { place }, { target: str }),
  statfs: op(3, reads, {},
    { bsize: u32, blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64 }),
  /** Whether the file can be opened so, and truncation; nothing stays open. */
  open: op(4, reads, { place, flags: u32 }, { attributes }),
  read: op(5, reads, { place, offset: u64, count: u32 }, { data }),
  /** Entries behind a cookie (0: from the first on) that fit into `room` bytes of 9P's directoryEntry. */
  readdir: op(6, reads, { place, after: u64, room: u32 }, { entries: list(entry) }),
  write: op(7, writes, { place, offset: u64, data }, { count: u32 }),
  create: op(8, changes, { place, name: str, flags: u32, mode: u32 }, { attributes }),
  mkdir: op(9, changes, { place, name: str, mode: u32 }, { attributes }),
  symlink: op(10, changes, { place, name: str, target: str }, { attributes }),
  unlink: op(11, changes, { place, name: str, directory: u8 }, {}),
  rename: op(12, changes, { place, name: str, to: place, newName: str }, {}),
  setattr: op(13, writes,
    { place, valid: u32, mode: u32, uid: u32, gid: u32, size: u64, atime: u64, mtime: u64 }, {}),
  fsync: op(14, reads, { place, dataOnly: u8 }, {}),
} as const;

export type OpName = keyof typeof OPS;
export type OpRequest<O extends OpName> = Values<(typeof OPS)[O]['request']>;
export type OpAnswer<O extends OpName> = Values<(typeof OPS)[O]['answer']>;
/** A request of any kind. */
export type AnyRequest = { [O in OpName]: { op: O; values: OpRequest<O> } }[OpName];

const BY_CODE = new Map<number, OpName>((Object.keys(OPS) as OpName[]).map((name) => [OPS[name].code, name]));

export function encodeOpRequest({ op: name, values }: AnyRequest, id: number): Uint8Array {
  const writer = new Writer();
  writer.u32(id);
  writer.u8(OPS[name].code);
  (OPS[name].requests as Codec<unknown>).write(writer, values);
  return writer.done();
}

/** @throws Malformed */
export function decodeOpRequest(message: Uint8Array): { id: number; request: AnyRequest } {
  if (message.length > MAX_MESSAGE_BYTES)
    throw new Malformed(`${message.length} bytes, expected ${MAX_MESSAGE_BYTES} at most`);
  const reader = new Reader(message);
  const id = reader.u32();
  const code = reader.u8();
  const name = BY_CODE.get(code);
  if (!name) throw new Malformed(`no request has the number ${code}`);
  const values: unknown = OPS[name].requests.read(reader);
  reader.end();
  return { id, request: { op: name, values } as AnyRequest };
}

/** @param answer its values, or the number of an error */
export function encodeOpAnswer<O extends OpName>(op: O, id: number, answer: OpAnswer<O> | number): Uint8Array {
  const writer = new Writer();
  writer.u32(id);
  writer.u32(typeof answer === 'number' ? answer || Errno.EIO : 0);
  if (typeof answer !== 'number') (OPS[op].answers as Codec<unknown>).write(writer, answer);
  return writer.done();
}

/** Whose answer it is. @throws Malformed */
export function answeredId(message: Uint8Array): number {
  return new Reader(message).u32();
}

/** Values, or the number of an error. @throws Malformed */
export function decodeOpAnswer<O extends OpName>(op: O, message: Uint8Array): OpAnswer<O> | number {
  if (message.length > MAX_MESSAGE_BYTES)
    throw new Malformed(`${message.length} bytes, expected ${MAX_MESSAGE_BYTES} at most`);
  const reader = new Reader(message);
  reader.u32();
  const errno = reader.u32();
  const values: unknown = errno === 0 ? OPS[op].answers.read(reader) : errno;
  reader.end();
  return values as OpAnswer<O> | number;
}
