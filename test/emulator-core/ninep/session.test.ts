// Expected messages: diod's protocol.md, Plan 9 manual section 5, linux/include/net/9p/9p.h; written by hand in bytes.ts.
import assert from 'node:assert/strict';
import { Session } from '../../../emulator-core/ninep/session';
import { decodeOpRequest, encodeOpAnswer, type Attributes, type OpAnswer, type OpName } from '../../../emulator-core/ninep/shareMessages'; // prettier-ignore
import { E, error, message, NOTAG, s, T, tattach, tlopen, tread, tversion, twalk, twrite, u16, u32, u64 } from './bytes'; // prettier-ignore

const FILE = 0o100644;
const FOLDER = 0o040755;
const LINK = 0o120777;
/** 2026-01-02T03:04:05.000000006Z */
const MTIME = 1767323045000000006n;

function attributes(inode: number, mode: number, more: Partial<Attributes> = {}): Attributes {
  return {
    ...{ inode: BigInt(inode), mode, uid: 1000, gid: 100, nlink: 1n, size: 5n, blksize: 4096n, blocks: 8n },
    ...{ atime: MTIME, mtime: MTIME, ctime: MTIME, btime: MTIME, ...more },
  };
}
/** type[1] version[4] path[8]; the version is any, the same for the same time. */
const VERSION = Number((MTIME ^ (MTIME >> 32n)) & 0xffffffffn);
const qid = (type: number, path: number, version = VERSION) => [type, ...u32(version), ...u64(path)];

function start() {
  const replies: Uint8Array[] = [];
  const asked: Uint8Array[] = [];
  const sent: Uint8Array[] = [];
  const host = {
    ask: (bytes: Uint8Array) => void asked.push(bytes.slice()),
    reply: (to: number, bytes: Uint8Array) => {
      assert.equal(replies[to], undefined, 'one reply');
      replies[to] = bytes.slice();
    },
    room: () => 8192,
    writeData: (to: number, length: number) => sent[to].subarray(23, 23 + length),
  };
  const session = new Session<number>(host);
  const send = (bytes: Uint8Array): number => {
    sent.push(bytes);
    session.request(bytes, sent.length - 1);
    return sent.length - 1;
  };
  const nextAsked = () => decodeOpRequest(asked.shift()!);
  const answer = <O extends OpName>(op: O, values: OpAnswer<O> | number) => {
    const { id, request } = nextAsked();
    assert.equal(request.op, op);
    session.answered(encodeOpAnswer(op, id, values));
    return request.values;
  };
  /** A request that is answered without asking. */
  const now = (bytes: Uint8Array) => replies[send(bytes)];
  /** A request and the answer to what it asks. */
  const ask = <O extends OpName>(bytes: Uint8Array, op: O, values: OpAnswer<O> | number) => {
    const at = send(bytes);
    const request = answer(op, values);
    return { reply: replies[at], request };
  };
  const attached = () => {
    now(tversion());
    ask(tattach(0, 0), 'attributes', { found: [attributes(2, FOLDER)] });
  };
  const file = (fid: number, flags?: number) => {
    ask(twalk(0, 0, fid, 'f'), 'attributes', { found: [attributes(7, FILE)] });
    if (flags !== undefined) ask(tlopen(0, fid, flags), 'open', { attributes: attributes(7, FILE) });
  };
  return { session, host, replies, asked, send, nextAsked, answer, now, ask, attached, file };
}

describe('9P2000.L session', () => {
  it('agrees on a version and a message size', () => {
    const { now } = start();
    assert.deepEqual(now(tversion(8192)), message(T.version + 1, NOTAG, u32(8192), s('9P2000.L')));
    assert.deepEqual(now(tversion(1 << 30)), message(T.version + 1, NOTAG, u32(512 << 10), s('9P2000.L')));
    assert.deepEqual(now(tversion(8192, '9P2000.u')), message(T.version + 1, NOTAG, u32(8192), s('unknown')));
    assert.deepEqual(now(tattach(1, 0))[4], 7, 'no session');
  });

  it('attaches, walks and clunks', () => {
    const { now, ask, send, replies, answer } = start();
    now(tversion());
    const root = ask(tattach(1, 10), 'attributes', { found: [attributes(2, FOLDER)] });
    assert.deepEqual(root.request, { places: [{ path: [], inode: 0n }] });
    assert.deepEqual(root.reply, message(T.attach + 1, 1, qid(0x80, 2)));
    const found = [attributes(3, FOLDER), attributes(4, LINK)];
    const walk = ask(twalk(2, 10, 11, 'sub', 'l'), 'attributes', { found });
    const paths = [['sub'], ['sub', 'l']].map((path) => ({ path, inode: 0n }));
    assert.deepEqual(walk.request, { places: paths });
    assert.deepEqual(walk.reply, message(T.walk + 1, 2, u16(2), qid(0x80, 3), qid(0x02, 4)));
    // Cloned; then up, which from the root leads nowhere else.
    assert.deepEqual(now(twalk(3, 11, 12)), message(T.walk + 1, 3, u16(0)));
    const up = ask(twalk(4, 11, 13, '..', '..', '..'), 'attributes', { found: Array(3).fill(attributes(2, FOLDER)) });
    const upPaths = [['sub'], [], []].map((path) => ({ path, inode: 0n }));
    assert.deepEqual(up.request, { places: upPaths });
    // Stuck on the way: what was reached, and no new fid.
    const part = ask(twalk(5, 10, 14, 'sub', 'none'), 'attributes', { found: [attributes(3, FOLDER)] });
    assert.deepEqual(part.reply, message(T.walk + 1, 5, u16(1), qid(0x80, 3)));
    assert.deepEqual(now(message(T.clunk, 6, u32(14))), error(6, E.BADF));
    assert.deepEqual(ask(twalk(7, 10, 14, 'none'), 'attributes', E.NOENT).reply, error(7, E.NOENT));
    assert.deepEqual(now(message(T.clunk, 8, u32(12))), message(T.clunk + 1, 8));
    assert.deepEqual(now(twalk(9, 10, 11, 'x')), error(9, E.BADF), 'a fid in use');
    // Two walks to the same fid: the second to be answered finds it taken.
    const [a, b] = [send(twalk(10, 10, 20, 'a')), send(twalk(11, 10, 20, 'b'))];
    answer('attributes', { found: [attributes(5, FILE)] });
    answer('attributes', { found: [attributes(6, FILE)] });
    assert.deepEqual([replies[a][4], replies[b]], [T.walk + 1, error(11, E.BADF)]);
  });

  it('refuses names that are none', () => {
    const { now, attached } = start();
    attached();
    for (const name of ['', '.', 'a/b', '/etc/passwd', '../x', 'a\0b']) {
      assert.deepEqual(now(twalk(1, 0, 1, name)), error(1, E.INVAL), JSON.stringify(name));
      const mkdir = message(T.mkdir, 1, u32(0), s(name), u32(0o755), u32(0));
      assert.deepEqual(now(mkdir), error(1, E.INVAL), JSON.stringify(name));
    }
    assert.deepEqual(now(message(T.mkdir, 1, u32(0), s('..'), u32(0o755), u32(0))), error(1, E.INVAL));
    assert.deepEqual(now(message(T.unlinkat, 1, u32(0), s('..'), u32(0x200))), error(1, E.INVAL));
    assert.deepEqual(now(twalk(1, 0, 1, 'n'.repeat(256))), error(1, 36));
    assert.deepEqual(now(twalk(1, 0, 1, ...Array<string>(17).fill('a'))), error(1, E.INVAL));
  });

  it('gives attributes', () => {
    const { ask, attached } = start();
    attached();
    const file = attributes(2, FOLDER, { size: 5n << 32n, atime: BigInt.asUintN(64, -1n), nlink: 3n });
    const { reply, request } = ask(message(T.getattr, 1, u32(0), u64(0x7ff)), 'attributes', { found: [file] });
    assert.deepEqual(request, { places: [{ path: [], inode: 2n }] });
    const [sec, nsec] = [u64(1767323045), u64(6)];
    assert.deepEqual(
      reply,
      message(
        ...([T.getattr + 1, 1, u64(0xfff), qid(0x80, 2), u32(FOLDER), u32(1000), u32(100), u64(3), u64(0)] as const),
        ...[u64(5n << 32n), u64(4096), u64(8), u64(-1n), u64(999999999), sec, nsec, sec, nsec, sec, nsec],
        ...[u64(0), u64(0)],
      ),
    );
  });

  it('sets attributes, without bits that change who a program runs as', () => {
    const { ask, attached } = start();
    attached();
    const times = [u64(100), u64(5), u64(200), u64(6)];
    const set = message(T.setattr, 1, u32(0), u32(0x1b9), u32(0o106755), u32(1), u32(2), u64(9), ...times);
    const { reply, request } = ask(set, 'setattr', {});
    assert.deepEqual(request, {
      ...{ place: { path: [], inode: 2n }, valid: 0x1b9, mode: 0o755, uid: 1, gid: 2, size: 9n },
      ...{ atime: 100000000005n, mtime: 200000000006n },
    });
    assert.deepEqual(reply, message(T.setattr + 1, 1));
  });

  it('opens and reads', () => {
    const { ask, attached, now } = start();
    attached();
    ask(twalk(1, 0, 1, 'f'), 'attributes', { found: [attributes(7, FILE)] });
    assert.deepEqual(now(tread(1, 1, 0, 10)), error(1, E.BADF), 'not open');
    const open = ask(tlopen(2, 1, 0o100000), 'open', { attributes: attributes(7, FILE) });
    assert.deepEqual(open.request, { place: { path: ['f'], inode: 7n }, flags: 1 });
    assert.deepEqual(open.reply, message(T.lopen + 1, 2, qid(0, 7), u32(0)));
    const read = ask(tread(3, 1, 6, 100), 'read', { data: Uint8Array.of(1, 2, 3) });
    assert.deepEqual(read.request, { place: { path: ['f'], inode: 7n }, offset: 6n, count: 100 });
    assert.deepEqual(read.reply, message(T.read + 1, 3, u32(3), [1, 2, 3]));
    assert.equal((ask(tread(3, 1, 0, 0xffffffff), 'read', E.IO).request as { count: number }).count, 8192 - 11);
    assert.deepEqual(now(twrite(4, 1, 0, 'x')), error(4, E.BADF), 'open to read only');
    assert.deepEqual(now(tlopen(5, 1)), error(5, E.BADF), 'open already');
  });

  it('creates and writes', () => {
    const { ask, attached, now } = start();
    attached();
    now(twalk(1, 0, 1));
    const create = message(T.lcreate, 2, u32(1), s('new'), u32(0o102 | 0o200), u32(0o104666), u32(0));
    const { reply, request } = ask(create, 'create', { attributes: attributes(8, FILE) });
    assert.deepEqual(request, { place: { path: [], inode: 2n }, name: 'new', flags: 1, mode: 0o666 });
    assert.deepEqual(reply, message(T.lcreate + 1, 2, qid(0, 8), u32(0)));
    const write = ask(twrite(3, 1, 5, 'abc'), 'write', { count: 3 });
    const place = { path: ['new'], inode: 8n };
    assert.deepEqual(write.request, { place, offset: 5n, data: Uint8Array.from(Buffer.from('abc')) });
    assert.deepEqual(write.reply, message(T.write + 1, 3, u32(3)));
    const sync = ask(message(T.fsync, 4, u32(1), u32(1)), 'fsync', {});
    assert.deepEqual([sync.request, sync.reply], [{ place, dataOnly: 1 }, message(T.fsync + 1, 4)]);
    // The size of a write may leave the data out: Linux before 5.0.
    const old = twrite(5, 1, 0, 'old');
    old[0] = 23;
    assert.deepEqual(ask(old, 'write', { count: 3 }).reply, message(T.write + 1, 5, u32(3)));
  });

  it('makes folders, links and files, and no devices', () => {
    const { ask, attached, now } = start();
    attached();
    const place = { path: [], inode: 2n };
    const mkdir = ask(message(T.mkdir, 1, u32(0), s('d'), u32(0o42755), u32(0)), 'mkdir', {
      attributes: attributes(9, FOLDER),
    });
    assert.deepEqual([mkdir.request, mkdir.reply], [{ place, name: 'd', mode: 0o755 }, message(73, 1, qid(0x80, 9))]);
    const symlink = ask(message(T.symlink, 2, u32(0), s('l'), s('/etc'), u32(0)), 'symlink', {
      attributes: attributes(10, LINK),
    });
    assert.deepEqual(symlink.request, { place, name: 'l', target: '/etc' });
    assert.deepEqual(symlink.reply, message(17, 2, qid(0x02, 10)));
    const node = (mode: number) => message(T.mknod, 3, u32(0), s('n'), u32(mode), u32(8), u32(0), u32(0));
    for (const kind of [0o010000, 0o020000, 0o060000, 0o140000]) {
      assert.deepEqual(now(node(kind | 0o600)), error(3, E.PERM));
    }
    const regular = ask(node(0o100600), 'create', { attributes: attributes(11, FILE) });
    assert.deepEqual(regular.request, { place, name: 'n', flags: 1, mode: 0o600 });
    assert.deepEqual(now(message(T.link, 4, u32(0), u32(0), s('hard'))), error(4, E.PERM));
    assert.deepEqual(now(message(T.xattrwalk, 5, u32(0), u32(9), s('user.x'))), error(5, E.OPNOTSUPP));
    assert.deepEqual(now(message(200, 6)), error(6, E.OPNOTSUPP));
    assert.deepEqual(now(message(T.auth, 7, u32(1), s('u'), s(''), u32(0))), error(7, E.OPNOTSUPP));
  });

  it('lists folders', () => {
    const { ask, attached } = start();
    attached();
    ask(tlopen(1, 0), 'open', { attributes: attributes(2, FOLDER) });
    const entry = (inode: number, mode: number, cookie: number, name: string) => ({
      ...{ inode: BigInt(inode), mode, cookie: BigInt(cookie), name, mtime: MTIME },
    });
    const entries = [entry(2, FOLDER, 1, '.'), entry(7, FILE, 77, 'f'), entry(4, LINK, 99, 'long')];
    const list = (offset: number, count: number) => message(T.readdir, 2, u32(0), u64(offset), u32(count));
    const { reply, request } = ask(list(5, 1000), 'readdir', { entries });
    assert.deepEqual(request, { place: { path: [], inode: 2n }, after: 5n, room: 1000 });
    const data = [
      ...[...qid(0x80, 2), ...u64(1), 4, ...s('.')],
      ...[...qid(0, 7), ...u64(77), 8, ...s('f')],
      ...[...qid(0x02, 4), ...u64(99), 10, ...s('long')],
    ];
    assert.deepEqual(reply, message(T.readdir + 1, 2, u32(data.length), data));
    // Never more than asked for, whatever comes: whole entries.
    const short = ask(list(0, 60), 'readdir', { entries }).reply;
    assert.deepEqual(short, message(T.readdir + 1, 2, u32(50), data.slice(0, 50)));
  });

  it('moves fids with what they stand for', () => {
    const { ask, attached } = start();
    attached();
    const found = [attributes(3, FOLDER), attributes(7, FILE)];
    ask(twalk(1, 0, 1, 'a', 'f'), 'attributes', { found });
    ask(twalk(1, 0, 2, 'ab'), 'attributes', { found: [attributes(5, FILE)] });
    const rename = message(T.renameat, 2, u32(0), s('a'), u32(0), s('b'));
    const { reply, request } = ask(rename, 'rename', {});
    const root = { path: [], inode: 2n };
    assert.deepEqual(request, { place: root, name: 'a', to: root, newName: 'b' });
    assert.deepEqual(reply, message(75, 2));
    const getattr = (fid: number) => message(T.getattr, 3, u32(fid), u64(0));
    const path = (fid: number) => (ask(getattr(fid), 'attributes', E.IO).request as { places: { path: string[] }[] }).places[0].path; // prettier-ignore
    assert.deepEqual(path(1), ['b', 'f']);
    assert.deepEqual(path(2), ['ab']);
    const single = ask(message(T.rename, 4, u32(1), u32(0), s('g')), 'rename', {});
    assert.deepEqual(single.request, { place: { path: ['b'], inode: 0n }, name: 'f', to: root, newName: 'g' });
    assert.deepEqual(single.reply, message(21, 4));
    assert.deepEqual(path(1), ['g']);
    ask(rename, 'rename', E.NOENT);
    ask(message(T.renameat, 5, u32(0), s('g'), u32(0), s('g')), 'rename', {});
    assert.deepEqual(path(1), ['g']);
  });

  it('removes', () => {
    const { ask, attached, now } = start();
    attached();
    ask(twalk(1, 0, 1, 'd'), 'attributes', { found: [attributes(3, FOLDER)] });
    const unlink = ask(message(T.unlinkat, 2, u32(1), s('x'), u32(0)), 'unlink', {});
    assert.deepEqual(unlink.request, { place: { path: ['d'], inode: 3n }, name: 'x', directory: 0 });
    assert.deepEqual(unlink.reply, message(77, 2));
    const remove = ask(message(T.remove, 3, u32(1)), 'unlink', 39);
    assert.deepEqual(remove.request, { place: { path: [], inode: 0n }, name: 'd', directory: 1 });
    assert.deepEqual(remove.reply, error(3, 39));
    assert.deepEqual(now(message(T.clunk, 4, u32(1))), error(4, E.BADF), 'the fid is gone');
    assert.deepEqual(now(message(T.remove, 5, u32(0))), error(5, 16), 'the root is busy');
  });

  it('answers for the file system, links and locks', () => {
    const { ask, attached, file, now } = start();
    attached();
    file(1, 2);
    const numbers = { bsize: 4096, blocks: 100n, bfree: 50n, bavail: 40n, files: 9n, ffree: 8n };
    assert.deepEqual(
      ask(message(T.statfs, 1, u32(0)), 'statfs', numbers).reply,
      message(9, 1, u32(0x01021997), u32(4096), ...[100, 50, 40, 9, 8, 0].map(u64), u32(255)),
    );
    const readlink = ask(message(T.readlink, 2, u32(1)), 'readlink', { target: '../x' });
    assert.deepEqual(readlink.reply, message(23, 2, s('../x')));
    const range = [u64(0), u64(10), u32(42), s('guest')];
    assert.deepEqual(now(message(T.lock, 3, u32(1), [1], u32(0), ...range)), message(53, 3, [0]));
    assert.deepEqual(now(message(T.getlock, 4, u32(1), [1], ...range)), message(55, 4, [2], ...range));
  });

  it('does not answer a flushed request', () => {
    const { session, replies, asked, send, nextAsked, now, attached, file, ask } = start();
    attached();
    file(1, 0);
    const read = send(tread(5, 1, 0, 10));
    const { id } = nextAsked();
    const other = send(tread(6, 1, 0, 10));
    const flushed = now(message(T.flush, 7, u16(5)));
    assert.deepEqual(replies[read], new Uint8Array(0), 'its buffers come back first, with nothing in them');
    assert.deepEqual(flushed, message(T.flush + 1, 7));
    session.answered(encodeOpAnswer('read', id, { data: Uint8Array.of(9) }));
    assert.equal(replies[other], undefined);
    session.answered(encodeOpAnswer('read', nextAsked().id, { data: Uint8Array.of(8) }));
    assert.deepEqual(replies[other], message(T.read + 1, 6, u32(1), [8]));
    assert.deepEqual(now(message(T.flush, 8, u16(99))), message(T.flush + 1, 8), 'one that is not there');
    // A walk that was flushed makes no fid; a rename that was done is done.
    send(twalk(9, 0, 2, 'f'));
    const walk = nextAsked();
    send(message(T.renameat, 10, u32(0), s('f'), u32(0), s('g')));
    const rename = nextAsked();
    now(message(T.flush, 11, u16(9)));
    now(message(T.flush, 11, u16(10)));
    session.answered(encodeOpAnswer('attributes', walk.id, { found: [attributes(7, FILE)] }));
    session.answered(encodeOpAnswer('rename', rename.id, {}));
    assert.deepEqual(now(message(T.clunk, 12, u32(2))), error(12, E.BADF));
    const { request } = ask(tread(13, 1, 0, 1), 'read', E.IO);
    assert.deepEqual((request as { place: unknown }).place, { path: ['g'], inode: 7n });
    assert.equal(asked.length, 0);
  });

  it('forgets everything when a version is agreed on anew', () => {
    const { session, replies, send, nextAsked, now, attached, file } = start();
    attached();
    file(1, 0);
    const read = send(tread(5, 1, 0, 10));
    const { id } = nextAsked();
    now(tversion());
    assert.deepEqual(replies[read], new Uint8Array(0));
    session.answered(encodeOpAnswer('read', id, { data: Uint8Array.of(9) }));
    assert.deepEqual(now(twalk(6, 0, 2)), error(6, E.BADF));
  });

  it('goes on from a saved state in the middle of requests', () => {
    const { session, host, replies, send, nextAsked, attached, file } = start();
    attached();
    file(1, 2);
    const reads = [send(tread(5, 1, 0, 10)), send(tread(6, 1, 10, 10))];
    const ids = [nextAsked().id, nextAsked().id];
    const saved = structuredClone(session.save());
    session.answered(encodeOpAnswer('read', ids[0], { data: Uint8Array.of(1) }));
    session.reset();
    session.restore(saved);
    delete replies[reads[0]];
    // And in another machine.
    const other = new Session<number>(host);
    other.restore(saved);
    other.answered(encodeOpAnswer('read', ids[1], { data: Uint8Array.of(2) }));
    session.answered(encodeOpAnswer('read', ids[0], { data: Uint8Array.of(1) }));
    assert.deepEqual(replies[reads[0]], message(T.read + 1, 5, u32(1), [1]));
    assert.deepEqual(replies[reads[1]], message(T.read + 1, 6, u32(1), [2]));
    assert.deepEqual(other.fids.get(1), { path: ['f'], inode: 7n, type: 0, open: 3 });
  });

  it('asks again what was lost, but nothing that could do harm twice', () => {
    const { session, replies, send, nextAsked, answer, attached, file, asked } = start();
    attached();
    file(1, 2);
    const read = send(tread(5, 1, 0, 10));
    const mkdir = send(message(T.mkdir, 6, u32(0), s('d'), u32(0o755), u32(0)));
    const write = send(twrite(7, 1, 3, 'data'));
    const before = [nextAsked(), nextAsked(), nextAsked()];
    session.lost();
    assert.deepEqual(replies[mkdir], error(6, E.IO));
    const again = asked.map((bytes) => decodeOpRequest(bytes).request);
    assert.deepEqual(again, [before[0].request, before[2].request]);
    answer('read', { data: Uint8Array.of(1) });
    answer('write', { count: 4 });
    assert.deepEqual(replies[read], message(T.read + 1, 5, u32(1), [1]));
    assert.deepEqual(replies[write], message(T.write + 1, 7, u32(4)));
  });

  it('does not take late answers of before a reset for new ones', () => {
    const { session, replies, send, nextAsked, now } = start();
    now(tversion());
    send(tattach(1, 0));
    const old = nextAsked().id;
    session.reset();
    now(tversion());
    const attach = send(tattach(1, 0));
    session.answered(encodeOpAnswer('attributes', old, { found: [attributes(99, FILE)] }));
    assert.equal(replies[attach], undefined);
  });

  it('bounds what is under way', () => {
    const { session, send, attached } = start();
    attached();
    for (let i = 0; i < 128; i++) send(twalk(i, 0, 100 + i, 'x'));
    assert.equal(session.ready, false);
    // Flushed ones count until they are answered.
    send(message(T.flush, 200, u16(0)));
    assert.equal(session.ready, false);
  });

  it('refuses messages that are malformed, and answers that are', () => {
    const { session, now, attached, send, nextAsked, replies } = start();
    attached();
    const whole = twalk(1, 0, 1, 'abc');
    for (let length = 7; length < whole.length; length++) {
      const cut = whole.slice(0, length);
      cut[0] = length;
      assert.deepEqual(now(cut), error(1, E.INVAL));
    }
    assert.deepEqual(now(Uint8Array.from([...message(T.clunk, 1, u32(5), [0])])), error(1, E.INVAL), 'a byte too many');
    const longer = message(T.clunk, 1, u32(0));
    longer[0]++;
    assert.deepEqual(now(longer), error(1, E.INVAL), 'a size beyond the message');
    assert.deepEqual(now(twrite(1, 0, 0, 'x'.repeat(9000))), error(1, E.MSGSIZE));
    const at = send(twalk(2, 0, 1, 'a'));
    const { id } = nextAsked();
    session.answered(Uint8Array.of(1));
    session.answered(encodeOpAnswer('attributes', id, { found: [] }));
    assert.deepEqual(replies[at], error(2, E.IO));
  });

  it('stands any message: 20,000 mutated ones', () => {
    let seed = 12345;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % below;
    };
    const seeds = [
      ...[tversion(), tattach(1, 0), twalk(2, 0, 1, 'a', 'b'), twalk(3, 1, 2), tlopen(4, 1), tread(5, 1, 0, 4096)],
      ...[twrite(6, 1, 0, 'data'), message(T.readdir, 7, u32(0), u64(0), u32(4096)), message(T.clunk, 8, u32(2))],
      ...[message(T.renameat, 9, u32(0), s('a'), u32(0), s('b')), message(T.flush, 10, u16(2))],
      ...[message(T.getattr, 11, u32(0), u64(0x3fff)), message(T.remove, 12, u32(1))],
    ];
    const { session, asked, replies, send } = start();
    for (let i = 0; i < 20000; i++) {
      const bytes = seeds[random(seeds.length)].slice();
      for (let n = random(4); n > 0; n--) bytes[random(bytes.length)] = random(256);
      if (session.ready) send(bytes.slice(0, Math.max(7, random(5) ? bytes.length : random(bytes.length))));
      // The folder answers, often nonsense.
      while (asked.length > random(50)) {
        const { id, request } = decodeOpRequest(asked.shift()!);
        const found = [attributes(random(9), random(2) ? FILE : FOLDER)];
        const good = request.op === 'attributes' ? encodeOpAnswer('attributes', id, { found }) : encodeOpAnswer(request.op, id, random(200)); // prettier-ignore
        const bad = good.slice(0, random(good.length + 1));
        session.answered(random(3) ? good : bad);
        if (bad.length < good.length) session.answered(encodeOpAnswer(request.op, id, E.IO));
      }
      if (i % 16 === 0) session.restore(session.save());
    }
    assert.ok(session.waiting <= 128);
    for (const reply of replies) if (reply?.length) assert.equal(Buffer.from(reply).readUInt32LE(0), reply.length);
  });
});
