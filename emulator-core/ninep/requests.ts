/**
 * What each 9P request comes to: a reply at once, or a question for the share's folder and what to make of the answer. One row a request.
 * Plan 9 manual, section 5; diod's protocol.md. version and flush are about other requests: see session.ts.
 */
import { Refusal } from './errno';
import { placeOf, type Fid, type Fids } from './fids';
import { Writer } from '../writer';
import {
  directoryEntry,
  MAX_WALK,
  NOFID,
  QidType,
  type MessageName,
  type Qid,
  type Reply,
  type Request,
} from './messages';
import { checkName, childPath, PATH_MAX, stepPath } from './paths';
import { Create, Open, Set, type AnyRequest, type Attributes, type OpAnswer, type OpName, type OpRequest, type Place } from './shareMessages'; // prettier-ignore

/** Flags of lopen and lcreate: P9_DOTL_*, which are those of open(2) in asm-generic/fcntl.h. */
const OpenFlag = { accessMode: 3, excl: 0o200, trunc: 0o1000, directory: 0o200000 } as const;
/** Open.*, by access mode. */
const ACCESS = [Open.read, Open.write, Open.read | Open.write];
const AT_REMOVEDIR = 0x200;
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFLNK = 0o120000;
const S_IFREG = 0o100000;
/** Permissions; set-user-ID, set-group-ID and sticky bits are not created. */
const PERMISSIONS = 0o777;
/** P9_GETATTR_BASIC and P9_GETATTR_BTIME. */
const VALID = 0xfffn;
const V9FS_MAGIC = 0x01021997;
const NAME_MAX = 255;
const LockStatus = { success: 0 } as const;
const LOCK_TYPE_UNLCK = 2;
const SECOND = 1_000_000_000n;

export interface Context {
  fids: Fids;
  /** Bytes of data that the reply may have. */
  room: number;
}

export interface RequestRow<N extends MessageName, O extends OpName> {
  /** A reply without asking; absent, or without a result: ask. */
  reply?(context: Context, request: Request<N>): Reply<N> | undefined;
  op: O;
  ask(context: Context, request: Request<N>): OpRequest<O>;
  /** @param asked without the data of a write */
  finish(context: Context, request: Request<N>, answer: OpAnswer<O>, asked: OpRequest<O>): Reply<N>;
}

export interface LocalRow<N extends MessageName> {
  reply(context: Context, request: Request<N>): Reply<N>;
}

function row<N extends MessageName, O extends OpName>(_name: N, op: O, rest: Omit<RequestRow<N, O>, 'op'>) {
  return { op, ...rest };
}
function local<N extends MessageName>(_name: N, reply: LocalRow<N>['reply']): LocalRow<N> {
  return { reply };
}
function refuse(errno: ConstructorParameters<typeof Refusal>[0]): never {
  throw new Refusal(errno);
}

/** The version changes with every modification, as far as times tell. */
function qidOf(file: { inode: bigint; mode: number; mtime: bigint }): Qid {
  const kind = file.mode & S_IFMT;
  const type = kind === S_IFDIR ? QidType.directory : kind === S_IFLNK ? QidType.symlink : QidType.file;
  return { type, version: Number((file.mtime ^ (file.mtime >> 32n)) & 0xffffffffn), path: file.inode };
}

function fidOf(path: string[], { inode, mode, mtime }: Attributes, open = 0): Fid {
  return { path, inode, type: qidOf({ inode, mode, mtime }).type, open };
}

function time(ns: bigint): { sec: bigint; nsec: bigint } {
  const signed = BigInt.asIntN(64, ns);
  const nsec = ((signed % SECOND) + SECOND) % SECOND;
  return { sec: BigInt.asUintN(64, (signed - nsec) / SECOND), nsec };
}
function nanoseconds(sec: bigint, nsec: bigint): bigint {
  if (nsec >= SECOND) refuse('EINVAL');
  const ns = BigInt.asIntN(64, sec) * SECOND + nsec;
  if (BigInt.asIntN(64, ns) !== ns) refuse('EINVAL');
  return BigInt.asUintN(64, ns);
}

/** The folder that a fid's file is in. The root is in none. */
function parentOf({ path }: Fid): { place: Place; name: string } {
  const name = path.at(-1) ?? refuse('EBUSY');
  return { place: { path: path.slice(0, -1), inode: 0n }, name };
}

/** A new entry of a fid's folder. */
function newEntry(fids: Fids, fid: number, name: string): { place: Place; name: string } {
  const folder = fids.get(fid);
  childPath(folder.path, name);
  return { place: placeOf(folder), name };
}

function accessOf(flags: number): number {
  return ACCESS[flags & OpenFlag.accessMode] ?? refuse('EINVAL');
}

/** What an Rreaddir holds. */
function entriesData(entries: OpAnswer<'readdir'>['entries'], room: number): Uint8Array {
  const writer = new Writer();
  let end = 0;
  for (const each of entries) {
    directoryEntry.write(writer, {
      qid: qidOf(each),
      offset: each.cookie,
      type: (each.mode & S_IFMT) >> 12,
      name: each.name,
    });
    if (writer.length > room) break;
    end = writer.length;
  }
  return writer.done().subarray(0, end);
}

function renamed(fids: Fids, { place, name, to, newName }: OpRequest<'rename'>): Record<string, never> {
  fids.moved([...place.path, name], [...to.path, newName]);
  return {};
}

export const REQUESTS = {
  auth: local('auth', () => refuse('EOPNOTSUPP')),
  attach: row('attach', 'attributes', {
    ask({ fids }, { fid, afid, aname }) {
      if (afid !== NOFID) refuse('EBADF');
      if (aname !== '' && aname !== '/') refuse('ENOENT');
      fids.checkNew(fid);
      return { places: [{ path: [], inode: 0n }] };
    },
    finish({ fids }, { fid }, { found: [root] }) {
      fids.checkNew(fid);
      fids.set(fid, fidOf([], root));
      return { qid: qidOf(root) };
    },
  }),
  walk: row('walk', 'attributes', {
    reply({ fids }, { fid, newfid, names }) {
      const from = fids.get(fid);
      if (newfid !== fid) fids.checkNew(newfid);
      if (names.length > 0) return undefined;
      if (newfid !== fid) fids.set(newfid, { ...from, open: 0 });
      return { qids: [] };
    },
    ask({ fids }, { fid, names }) {
      if (names.length > MAX_WALK) refuse('EINVAL');
      let { path } = fids.get(fid);
      return { places: names.map((name) => ({ path: (path = stepPath(path, name)), inode: 0n })) };
    },
    finish({ fids }, { fid, newfid, names }, { found }, { places }) {
      // A walk that gets stuck behind its first step says how far it came, and newfid stays unused.
      if (found.length === names.length) {
        if (newfid === fid) fids.get(fid);
        else fids.checkNew(newfid);
        fids.set(newfid, fidOf(places[found.length - 1].path, found[found.length - 1]));
      }
      return { qids: found.map(qidOf) };
    },
  }),
  clunk: local('clunk', ({ fids }, { fid }) => {
    fids.get(fid);
    fids.delete(fid);
    return {};
  }),
  statfs: row('statfs', 'statfs', {
    ask({ fids }, { fid }) {
      fids.get(fid);
      return {};
    },
    finish: (_context, _request, answer) => ({ type: V9FS_MAGIC, ...answer, fsid: 0n, namelen: NAME_MAX }),
  }),
  getattr: row('getattr', 'attributes', {
    ask: ({ fids }, { fid }) => ({ places: [placeOf(fids.get(fid))] }),
    finish(_context, _request, { found: [file] }) {
      const [atime, mtime, ctime, btime] = [file.atime, file.mtime, file.ctime, file.btime].map(time);
      const { mode, uid, gid, nlink, size, blksize, blocks } = file;
      return {
        ...{ valid: VALID, qid: qidOf(file), mode, uid, gid, nlink, rdev: 0n, size, blksize, blocks },
        ...{ atimeSec: atime.sec, atimeNsec: atime.nsec, mtimeSec: mtime.sec, mtimeNsec: mtime.nsec },
        ...{ ctimeSec: ctime.sec, ctimeNsec: ctime.nsec, btimeSec: btime.sec, btimeNsec: btime.nsec },
        ...{ gen: 0n, dataVersion: 0n },
      };
    },
  }),
  setattr: row('setattr', 'setattr', {
    ask({ fids }, { fid, valid, mode, uid, gid, size, atimeSec, atimeNsec, mtimeSec, mtimeNsec }) {
      const atime = valid & Set.atimeSet ? nanoseconds(atimeSec, atimeNsec) : 0n;
      const mtime = valid & Set.mtimeSet ? nanoseconds(mtimeSec, mtimeNsec) : 0n;
      return { place: placeOf(fids.get(fid)), valid, mode: mode & PERMISSIONS, uid, gid, size, atime, mtime };
    },
    finish: () => ({}),
  }),
  lopen: row('lopen', 'open', {
    ask({ fids }, { fid, flags }) {
      const file = fids.get(fid);
      if (file.open !== 0) refuse('EBADF');
      let how = accessOf(flags);
      if (flags & OpenFlag.trunc) how |= Open.truncate;
      if (flags & OpenFlag.directory) how |= Open.directory;
      return { place: placeOf(file), flags: how };
    },
    finish({ fids }, { fid, flags }, { attributes }) {
      const file = fids.get(fid);
      if (file.inode !== attributes.inode) refuse('EBADF');
      fids.set(fid, { ...file, open: accessOf(flags) });
      return { qid: qidOf(attributes), iounit: 0 };
    },
  }),
  lcreate: row('lcreate', 'create', {
    ask({ fids }, { fid, name, flags, mode }) {
      if (fids.get(fid).open !== 0) refuse('EBADF');
      accessOf(flags);
      const how = (flags & OpenFlag.excl ? Create.exclusive : 0) | (flags & OpenFlag.trunc ? Create.truncate : 0);
      return { ...newEntry(fids, fid, name), flags: how, mode: mode & PERMISSIONS };
    },
    finish({ fids }, { fid, flags }, { attributes }, { place, name }) {
      fids.get(fid);
      fids.set(fid, fidOf([...place.path, name], attributes, accessOf(flags)));
      return { qid: qidOf(attributes), iounit: 0 };
    },
  }),
  /** Regular files only: no device nodes, pipes or sockets. */
  mknod: row('mknod', 'create', {
    ask({ fids }, { dfid, name, mode }) {
      const kind = mode & S_IFMT;
      if (kind !== 0 && kind !== S_IFREG) refuse('EPERM');
      return { ...newEntry(fids, dfid, name), flags: Create.exclusive, mode: mode & PERMISSIONS };
    },
    finish: (_context, _request, { attributes }) => ({ qid: qidOf(attributes) }),
  }),
  mkdir: row('mkdir', 'mkdir', {
    ask: ({ fids }, { dfid, name, mode }) => ({ ...newEntry(fids, dfid, name), mode: mode & PERMISSIONS }),
    finish: (_context, _request, { attributes }) => ({ qid: qidOf(attributes) }),
  }),
  symlink: row('symlink', 'symlink', {
    ask({ fids }, { fid, name, target }) {
      if (target === '') refuse('ENOENT');
      if (target.includes('\0')) refuse('EINVAL');
      if (target.length >= PATH_MAX) refuse('ENAMETOOLONG');
      return { ...newEntry(fids, fid, name), target };
    },
    finish: (_context, _request, { attributes }) => ({ qid: qidOf(attributes) }),
  }),
  readlink: row('readlink', 'readlink', {
    ask: ({ fids }, { fid }) => ({ place: placeOf(fids.get(fid)) }),
    finish: (_context, _request, { target }) => ({ target }),
  }),
  read: row('read', 'read', {
    ask({ fids, room }, { fid, offset, count }) {
      return { place: placeOf(fids.opened(fid, Open.read)), offset, count: Math.min(count, room) };
    },
    finish: ({ room }, { count }, { data }) => ({ data: data.subarray(0, Math.min(count, room)) }),
  }),
  write: row('write', 'write', {
    ask: ({ fids }, { fid, offset, data }) => ({ place: placeOf(fids.opened(fid, Open.write)), offset, data }),
    finish: (_context, _request, { count }) => ({ count }),
  }),
  readdir: row('readdir', 'readdir', {
    ask({ fids, room }, { fid, offset, count }) {
      return { place: placeOf(fids.opened(fid)), after: offset, room: Math.min(count, room) };
    },
    finish: ({ room }, { count }, { entries }) => ({ data: entriesData(entries, Math.min(count, room)) }),
  }),
  fsync: row('fsync', 'fsync', {
    ask: ({ fids }, { fid, datasync }) => ({ place: placeOf(fids.opened(fid)), dataOnly: datasync ? 1 : 0 }),
    finish: () => ({}),
  }),
  rename: row('rename', 'rename', {
    ask({ fids }, { fid, dfid, name }) {
      const to = newEntry(fids, dfid, name);
      return { ...parentOf(fids.get(fid)), to: to.place, newName: name };
    },
    finish: ({ fids }, _request, _answer, asked) => renamed(fids, asked),
  }),
  renameat: row('renameat', 'rename', {
    ask({ fids }, { olddirfid, oldname, newdirfid, newname }) {
      const to = newEntry(fids, newdirfid, newname);
      return { ...newEntry(fids, olddirfid, oldname), to: to.place, newName: newname };
    },
    finish: ({ fids }, _request, _answer, asked) => renamed(fids, asked),
  }),
  unlinkat: row('unlinkat', 'unlink', {
    ask({ fids }, { dirfid, name, flags }) {
      return { place: placeOf(fids.get(dirfid)), name: checkName(name), directory: flags & AT_REMOVEDIR ? 1 : 0 };
    },
    finish: () => ({}),
  }),
  /** The fid is gone even if the file is not. */
  remove: row('remove', 'unlink', {
    ask({ fids }, { fid }) {
      const file = fids.get(fid);
      fids.delete(fid);
      return { ...parentOf(file), directory: file.type === QidType.directory ? 1 : 0 };
    },
    finish: () => ({}),
  }),
  /** A share has one guest, whose kernel keeps its own locks. */
  lock: local('lock', ({ fids }, { fid }) => {
    fids.opened(fid);
    return { status: LockStatus.success };
  }),
  getlock: local('getlock', ({ fids }, { fid, start, length, procId, clientId }) => {
    fids.opened(fid);
    return { type: LOCK_TYPE_UNLCK, start, length, procId, clientId };
  }),
  link: local('link', () => refuse('EPERM')),
  xattrwalk: local('xattrwalk', () => refuse('EOPNOTSUPP')),
  xattrcreate: local('xattrcreate', () => refuse('EOPNOTSUPP')),
} satisfies Record<Exclude<MessageName, 'version' | 'flush'>, object>;

/** A row, whatever its request: for callers that have checked that the parts belong together. */
export interface AnyRow {
  reply?(context: Context, request: unknown): Reply<MessageName> | undefined;
  op?: OpName;
  ask?(context: Context, request: unknown): AnyRequest['values'];
  finish?(context: Context, request: unknown, answer: unknown, asked: unknown): Reply<MessageName>;
}

export function requestRow(name: Exclude<MessageName, 'version' | 'flush'>): AnyRow {
  return REQUESTS[name] as AnyRow;
}
