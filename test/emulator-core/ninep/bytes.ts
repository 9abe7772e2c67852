/** 9P messages by hand: little-endian numbers, as diod's protocol.md and the Plan 9 manual lay them out. */

/** A number of `size` bytes. */
export function le(value: number | bigint, size: number): number[] {
  return Array.from({ length: size }, (_, i) => Number((BigInt.asUintN(64, BigInt(value)) >> BigInt(8 * i)) & 0xffn));
}
export const u16 = (value: number): number[] => le(value, 2);
export const u32 = (value: number): number[] => le(value, 4);
export const u64 = (value: number | bigint): number[] => le(value, 8);
/** A string: length[2], bytes. */
export const s = (text: string): number[] => [...u16(Buffer.byteLength(text)), ...Buffer.from(text)];
/** size[4] type[1] tag[2] and what follows. */
export function message(type: number, tag: number, ...fields: number[][]): Uint8Array {
  const rest = fields.flat();
  return Uint8Array.from([...u32(7 + rest.length), type, ...u16(tag), ...rest]);
}
export const NOTAG = 0xffff;
export const NOFID = 0xffffffff;
/** Request types: 9p.h, enum p9_msg_t. A reply's is one more. */
export const T = {
  statfs: 8,
  lopen: 12,
  lcreate: 14,
  symlink: 16,
  mknod: 18,
  rename: 20,
  readlink: 22,
  getattr: 24,
  setattr: 26,
  xattrwalk: 30,
  readdir: 40,
  fsync: 50,
  lock: 52,
  getlock: 54,
  link: 70,
  mkdir: 72,
  renameat: 74,
  unlinkat: 76,
  version: 100,
  auth: 102,
  attach: 104,
  flush: 108,
  walk: 110,
  read: 116,
  write: 118,
  clunk: 120,
  remove: 122,
} as const;
export const RLERROR = 7;
/** asm-generic/errno*.h */
export const E = { PERM: 1, NOENT: 2, IO: 5, BADF: 9, INVAL: 22, ROFS: 30, MSGSIZE: 90, OPNOTSUPP: 95, STALE: 116 };
export const error = (tag: number, errno: number): Uint8Array => message(RLERROR, tag, u32(errno));

export const tversion = (msize = 8192, version = '9P2000.L') => message(T.version, NOTAG, u32(msize), s(version));
export const tattach = (tag: number, fid: number) =>
  message(T.attach, tag, u32(fid), u32(NOFID), s('root'), s(''), u32(0));
export const twalk = (tag: number, fid: number, newfid: number, ...names: string[]) =>
  message(T.walk, tag, u32(fid), u32(newfid), u16(names.length), ...names.map(s));
export const tlopen = (tag: number, fid: number, flags = 0) => message(T.lopen, tag, u32(fid), u32(flags));
export const tread = (tag: number, fid: number, offset: number, count: number) =>
  message(T.read, tag, u32(fid), u64(offset), u32(count));
export const twrite = (tag: number, fid: number, offset: number, data: string) =>
  message(T.write, tag, u32(fid), u64(offset), u32(data.length), [...Buffer.from(data)]);
