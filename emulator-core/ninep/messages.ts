/**
 * The messages of 9P2000.L: its number, what a request holds, what its reply holds. Every message begins with size[4] type[1] tag[2];
 * a reply's type is its request's plus one. Plan 9 manual, section 5; diod's protocol.md; linux/include/net/9p/9p.h.
 */
import { data, list, Reader, str, struct, u16, u32, u64, u8, type Codec, type Layout, type Values } from './layout';
import { Writer } from '../writer';

export const VERSION = '9P2000.L';
/** "no fid". */
export const NOFID = 0xffffffff;
/** size[4] type[1] tag[2] */
export const HEADER_BYTES = 7;
/** A reply with data: header and count[4]. */
export const DATA_HEADER_BYTES = HEADER_BYTES + 4;
/** "The maximum number of path elements" of one walk: MAXWELEM. */
export const MAX_WALK = 16;
const RLERROR = 7;

/** What identifies a file: kind, version, and a number that no other file has. */
export const qid = struct({ type: u8, version: u32, path: u64 });
export type Qid = Values<{ type: typeof u8; version: typeof u32; path: typeof u64 }>;
export const QidType = { directory: 0x80, symlink: 0x02, file: 0x00 } as const;

/** An entry in the data of Rreaddir; `type` as in dirent(5). */
export const directoryEntry = struct({ qid, offset: u64, type: u8, name: str });

function message<Q extends Layout, R extends Layout>(type: number, request: Q, reply: R) {
  return { type, request, reply, decoder: struct(request), encoder: struct(reply) };
}

const lock = { type: u8, start: u64, length: u64, procId: u32, clientId: str };
const times = { atimeSec: u64, atimeNsec: u64, mtimeSec: u64, mtimeNsec: u64 };

// prettier-ignore
export const MESSAGES = {
  statfs: message(8, { fid: u32 },
    { type: u32, bsize: u32, blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64, fsid: u64, namelen: u32 }),
  lopen: message(12, { fid: u32, flags: u32 }, { qid, iounit: u32 }),
  lcreate: message(14, { fid: u32, name: str, flags: u32, mode: u32, gid: u32 }, { qid, iounit: u32 }),
  symlink: message(16, { fid: u32, name: str, target: str, gid: u32 }, { qid }),
  mknod: message(18, { dfid: u32, name: str, mode: u32, major: u32, minor: u32, gid: u32 }, { qid }),
  rename: message(20, { fid: u32, dfid: u32, name: str }, {}),
  readlink: message(22, { fid: u32 }, { target: str }),
  getattr: message(24, { fid: u32, mask: u64 }, {
    valid: u64, qid, mode: u32, uid: u32, gid: u32, nlink: u64, rdev: u64, size: u64, blksize: u64, blocks: u64,
    ...times, ctimeSec: u64, ctimeNsec: u64, btimeSec: u64, btimeNsec: u64, gen: u64, dataVersion: u64,
  }),
  setattr: message(26, { fid: u32, valid: u32, mode: u32, uid: u32, gid: u32, size: u64, ...times }, {}),
  xattrwalk: message(30, { fid: u32, newfid: u32, name: str }, { size: u64 }),
  xattrcreate: message(32, { fid: u32, name: str, size: u64, flags: u32 }, {}),
  readdir: message(40, { fid: u32, offset: u64, count: u32 }, { data }),
  fsync: message(50, { fid: u32, datasync: u32 }, {}),
  lock: message(52, { fid: u32, type: u8, flags: u32, start: u64, length: u64, procId: u32, clientId: str }, { status: u8 }),
  getlock: message(54, { fid: u32, ...lock }, lock),
  link: message(70, { dfid: u32, fid: u32, name: str }, {}),
  mkdir: message(72, { dfid: u32, name: str, mode: u32, gid: u32 }, { qid }),
  renameat: message(74, { olddirfid: u32, oldname: str, newdirfid: u32, newname: str }, {}),
  unlinkat: message(76, { dirfid: u32, name: str, flags: u32 }, {}),
  version: message(100, { msize: u32, version: str }, { msize: u32, version: str }),
  auth: message(102, { afid: u32, uname: str, aname: str, uid: u32 }, { qid }),
  attach: message(104, { fid: u32, afid: u32, uname: str, aname: str, uid: u32 }, { qid }),
  flush: message(108, { oldtag: u16 }, {}),
  walk: message(110, { fid: u32, newfid: u32, names: list(str) }, { qids: list(qid) }),
  read: message(116, { fid: u32, offset: u64, count: u32 }, { data }),
  write: message(118, { fid: u32, offset: u64, data }, { count: u32 }),
  clunk: message(120, { fid: u32 }, {}),
  remove: message(122, { fid: u32 }, {}),
} as const;

export type MessageName = keyof typeof MESSAGES;
export type Request<N extends MessageName> = Values<(typeof MESSAGES)[N]['request']>;
export type Reply<N extends MessageName> = Values<(typeof MESSAGES)[N]['reply']>;

const NAMES = new Map<number, MessageName>(
  (Object.keys(MESSAGES) as MessageName[]).map((name) => [MESSAGES[name].type, name]),
);

/** What stands in front of a request's fields. */
export const header = struct({ size: u32, type: u8, tag: u16 });

/** The request with a type number, if there is one. */
export function requestName(type: number): MessageName | undefined {
  return NAMES.get(type);
}

/** A request's fields. @param fields the bytes behind the header @throws Malformed */
export function decodeRequest<N extends MessageName>(name: N, fields: Uint8Array): Request<N> {
  const reader = new Reader(fields);
  const values = (MESSAGES[name].decoder as Codec<unknown>).read(reader) as Request<N>;
  reader.end();
  return values;
}

export function encodeReply<N extends MessageName>(name: N, tag: number, values: Reply<N>): Uint8Array {
  return encode(MESSAGES[name].type + 1, tag, MESSAGES[name].encoder as Codec<unknown>, values);
}

/** Rlerror: `errno` is Linux's. */
export function encodeError(tag: number, errno: number): Uint8Array {
  return encode(RLERROR, tag, u32, errno);
}

function encode<T>(type: number, tag: number, codec: Codec<T>, values: T): Uint8Array {
  const writer = new Writer();
  header.write(writer, { size: 0, type, tag });
  codec.write(writer, values);
  return writer.setU32(0, writer.length).done();
}
