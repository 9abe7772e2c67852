// What a shared folder lets a guest do, and what not: behaviour of Linux's system calls (man-pages, section 2), and of the folder's own files.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { decodeOpAnswer, encodeOpRequest, type AnyRequest, type Attributes, type OpAnswer, type OpName, type OpRequest } from '../../../emulator-core/ninep/shareMessages'; // prettier-ignore
import type { LinkService } from '../../../debug-adapter/engines/embedded/links';
import { openShare } from '../../../debug-adapter/node/share';
import { ShareFolder } from '../../../debug-adapter/node/shareFolder';
import { skip } from '../../skip';

const E = { PERM: 1, NOENT: 2, IO: 5, NXIO: 6, EXIST: 17, NOTDIR: 20, ISDIR: 21, INVAL: 22, FBIG: 27, ROFS: 30, NOTEMPTY: 39, LOOP: 40, STALE: 116 }; // prettier-ignore
const at = (name = '', inode = 0n) => ({ path: name ? name.split('/') : [], inode });
const text = (value: string) => new Uint8Array(Buffer.from(value));

describe('a shared folder', () => {
  let root: string;
  let outside: string;
  let service: LinkService | undefined;
  let waiting: ((answer: Uint8Array) => void)[] = [];

  const openWith = async (write: boolean) => {
    const open = await openShare(root, write);
    service = open((answer) => waiting.shift()!(answer));
  };
  const raw = (request: AnyRequest) =>
    new Promise<Uint8Array>((resolve) => {
      waiting.push(resolve);
      service!.message(encodeOpRequest(request, 1));
    });
  /** A request's answer, or the number of its error. */
  const ask = async <O extends OpName>(op: O, values: OpRequest<O>): Promise<OpAnswer<O> | number> =>
    decodeOpAnswer(op, await raw({ op, values } as AnyRequest));
  const stat = async (name: string): Promise<Attributes | number> => {
    const answer = await ask('attributes', { places: [at(name)] });
    return typeof answer === 'number' ? answer : answer.found[0];
  };
  const read = async (name: string, inode = 0n): Promise<string | number> => {
    const answer = await ask('read', { place: at(name, inode), offset: 0n, count: 1000 });
    return typeof answer === 'number' ? answer : Buffer.from(answer.data).toString();
  };
  const write = (name: string, data: string, offset = 0n) =>
    ask('write', { place: at(name), offset, data: text(data) });
  const create = (name: string, mode = 0o644, flags = 0, folder = '') =>
    ask('create', { place: at(folder), name, flags, mode });
  const file = (name: string) => path.join(root, name);

  beforeEach(function () {
    if (process.platform === 'win32') skip(this, 'symbolic links and pipes need Linux or macOS');
    const base = fs.realpathSync(fs.mkdtempSync(path.join(tmpdir(), 'ringside-share-')));
    [root, outside] = [path.join(base, 'root'), path.join(base, 'outside')];
    fs.mkdirSync(root);
    fs.mkdirSync(outside);
    fs.writeFileSync(path.join(outside, 'secret'), 'secret');
    fs.mkdirSync(file('d'));
    fs.writeFileSync(file('d/f'), 'inside');
    waiting = [];
  });
  afterEach(() => {
    service?.close();
    service = undefined;
    fs.rmSync(path.dirname(root), { recursive: true, force: true });
  });

  it('gives attributes, files and entries as they are', async () => {
    await openWith(false);
    fs.utimesSync(file('d/f'), 1000, 2000);
    const real = fs.lstatSync(file('d/f'), { bigint: true });
    const found = (await stat('d/f')) as Attributes;
    const { inode, mode, size, nlink, mtime, atime } = found;
    assert.deepEqual([inode, BigInt(mode), size, nlink], [real.ino, real.mode, 6n, 1n]);
    assert.deepEqual([atime, mtime], [1000_000000000n, 2000_000000000n]);
    assert.equal(await read('d/f'), 'inside');
    assert.deepEqual(await ask('read', { place: at('d/f'), offset: 4n, count: 10 }), { data: text('de') });
    assert.deepEqual(await ask('read', { place: at('d/f'), offset: 1n << 60n, count: 10 }), { data: text('') });
    const open = await ask('open', { place: at('d/f'), flags: 1 });
    assert.equal((open as { attributes: Attributes }).attributes.inode, real.ino);
    assert.equal(await read('d'), E.ISDIR);
    assert.equal(await stat('none'), E.NOENT);
    assert.equal(await stat('d/f/x'), E.NOTDIR);
    const several = await ask('attributes', { places: [at('d'), at('d/none'), at('d/f')] });
    assert.equal((several as OpAnswer<'attributes'>).found.length, 1);
    const space = (await ask('statfs', {})) as OpAnswer<'statfs'>;
    assert.equal(BigInt(space.bsize) * space.blocks > 0n, true);
  });

  it('lists every entry once, although others are removed meanwhile', async () => {
    await openWith(true);
    const names = Array.from({ length: 200 }, (_, i) => `file ${i}`);
    for (const name of names) fs.writeFileSync(file(`d/${name}`), '');
    const seen: string[] = [];
    let after = 0n;
    for (;;) {
      const { entries } = (await ask('readdir', { place: at('d'), after, room: 300 })) as OpAnswer<'readdir'>;
      if (entries.length === 0) break;
      assert.ok(entries.reduce((sum, { name }) => sum + 24 + name.length, 0) <= 300);
      seen.push(...entries.map(({ name }) => name));
      after = entries[entries.length - 1].cookie;
      assert.ok(after < 1n << 63n);
      for (const { name } of entries) if (name.startsWith('file')) fs.unlinkSync(file(`d/${name}`));
    }
    assert.deepEqual(seen.slice(0, 2), ['.', '..']);
    assert.deepEqual(seen.slice(2).sort(), [...names, 'f'].sort());
    assert.equal(await ask('readdir', { place: at('d'), after: 0n, room: 10 }), E.INVAL, 'no room at all');
    assert.equal(await ask('readdir', { place: at('d/f'), after: 0n, room: 1000 }), E.NOTDIR);
  });

  it('has names of any bytes', async function () {
    if (process.platform !== 'linux') skip(this, 'names that are no UTF-8 need Linux');
    await openWith(true);
    assert.equal(typeof (await create('\xff\xfe', 0o644, 0, 'd')), 'object');
    assert.deepEqual(
      fs.readdirSync(file('d'), { encoding: 'buffer' }).map((name) => name.toString('latin1')).sort(),
      ['f', '\xff\xfe'].sort(),
    ); // prettier-ignore
    assert.equal(typeof (await stat('d/\xff\xfe')), 'object');
  });

  for (const how of ['pinned', 'looked at'] as const) {
    describe(`lets nothing outside be reached (files are ${how})`, () => {
      beforeEach(async function () {
        const platform = Object.getOwnPropertyDescriptor(process, 'platform')!;
        if (how === 'pinned' && process.platform !== 'linux') skip(this, 'needs /proc/self/fd');
        // As on a system without it.
        if (how === 'looked at') Object.defineProperty(process, 'platform', { value: 'darwin' });
        try {
          await openWith(true);
        } finally {
          Object.defineProperty(process, 'platform', platform);
        }
        fs.symlinkSync(outside, file('out'));
        fs.symlinkSync(path.join(outside, 'secret'), file('link'));
        fs.symlinkSync('..', file('d/up'));
        fs.symlinkSync('f', file('d/near'));
      });
      const untouched = () => {
        assert.deepEqual(fs.readdirSync(outside), ['secret']);
        assert.equal(fs.readFileSync(path.join(outside, 'secret'), 'utf8'), 'secret');
        assert.equal(fs.statSync(path.join(outside, 'secret')).mode & 0o7777, 0o644);
      };

      it('by names that are paths', async () => {
        for (const name of ['..', '.', '', '../outside/secret', outside, 'd/../../outside', 'a\0b']) {
          const place = { path: [name], inode: 0n };
          assert.equal(await ask('attributes', { places: [place] }), E.INVAL, name);
          assert.equal(await ask('read', { place, offset: 0n, count: 9 }), E.INVAL, name);
          assert.equal(
            await ask('attributes', { places: [{ path: ['d', name, 'secret'], inode: 0n }] }),
            E.INVAL,
            name,
          );
          assert.equal(await create(name), E.INVAL, name);
          assert.equal(await ask('unlink', { place: at(), name, directory: 0 }), E.INVAL, name);
          assert.equal(await ask('mkdir', { place: at(), name, mode: 0o777 }), E.INVAL, name);
          const rename = { place: at('d'), name: 'f', to: at(), newName: name };
          assert.equal(await ask('rename', rename), E.INVAL, name);
          assert.equal(await ask('symlink', { place: at(), name, target: 'x' }), E.INVAL, name);
        }
        untouched();
      });

      it('by symbolic links', async () => {
        for (const name of ['link', 'out', 'd/near']) {
          assert.equal((((await stat(name)) as Attributes).mode & 0o170000).toString(8), '120000', 'the link itself');
          assert.equal(await read(name), E.LOOP);
          assert.equal(await write(name, 'x'), E.LOOP);
          assert.equal(await ask('open', { place: at(name), flags: 6 }), E.LOOP);
          const folder = path.dirname(name) === '.' ? '' : 'd';
          assert.equal(await create(path.basename(name), 0o644, 2, folder), E.LOOP);
        }
        assert.deepEqual(await ask('readlink', { place: at('link') }), { target: path.join(outside, 'secret') });
        assert.equal(await ask('readlink', { place: at('d/f') }), E.INVAL);
        const through = ['out/secret', 'd/up/d/f', 'out/new'];
        for (const name of through) {
          assert.ok([E.LOOP, E.NOTDIR, E.NOENT].includes((await stat(name)) as number), name);
          assert.equal(typeof (await read(name)), 'number');
          assert.equal(typeof (await write(name, 'x')), 'number');
        }
        for (const folder of ['out', 'd/up']) {
          assert.equal(await create('new', 0o644, 0, folder), E.NOTDIR);
          assert.equal(await ask('mkdir', { place: at(folder), name: 'new', mode: 0o777 }), E.NOTDIR);
          assert.equal(await ask('unlink', { place: at(folder), name: 'secret', directory: 0 }), E.NOTDIR);
          const rename = { place: at('d'), name: 'f', to: at(folder), newName: 'g' };
          assert.equal(await ask('rename', rename), E.NOTDIR);
          assert.equal(await ask('readdir', { place: at(folder), after: 0n, room: 4096 }), E.NOTDIR);
          assert.equal(await ask('symlink', { place: at(folder), name: 'n', target: 'x' }), E.NOTDIR);
        }
        const chmod = {
          place: at('link'),
          valid: 0x1 | 0x8,
          mode: 0o777,
          uid: 0,
          gid: 0,
          size: 0n,
          atime: 0n,
          mtime: 0n,
        };
        assert.ok(((await ask('setattr', chmod)) as number) > 0);
        untouched();
      });

      it('by pipes and other special files, which are not even opened', async () => {
        execFileSync('mkfifo', [file('pipe')]);
        assert.equal(((await stat('pipe')) as Attributes).mode & 0o170000, 0o010000);
        assert.equal(await read('pipe'), E.NXIO);
        assert.equal(await write('pipe', 'x'), E.NXIO);
        assert.equal(await ask('open', { place: at('pipe'), flags: 1 }), E.NXIO);
        assert.equal(await create('pipe'), E.NXIO);
        assert.equal(await ask('fsync', { place: at('pipe'), dataOnly: 0 }), E.NXIO);
      });

      it('when a folder is replaced by a link between two requests', async () => {
        fs.writeFileSync(file('d/secret'), 'mine');
        assert.equal(await read('d/secret'), 'mine');
        fs.renameSync(file('d'), file('e'));
        fs.symlinkSync(outside, file('d'));
        assert.ok([E.LOOP, E.NOTDIR].includes((await read('d/secret')) as number));
        assert.ok([E.LOOP, E.NOTDIR].includes((await write('d/secret', 'x')) as number));
        untouched();
      });

      it('when another process swaps folders and links as fast as it can', async function () {
        // A guest's own requests come one after the other: see docs/shared-folders.md.
        if (how !== 'pinned') skip(this, 'only descriptors of Linux hold against other processes of the host');
        fs.writeFileSync(file('d/secret'), 'mine');
        // Another process races with the requests.
        const script = `const fs = require('fs'); for (;;) { try { fs.renameSync('d', 'e'); fs.symlinkSync(${JSON.stringify(outside)}, 'd'); fs.unlinkSync('d'); fs.renameSync('e', 'd'); } catch {} }`;
        const { spawn } = await import('node:child_process');
        const racer = spawn(process.execPath, ['-e', script], { cwd: root, stdio: 'ignore' });
        try {
          const seen = new Set<string | number>();
          for (let i = 0; i < 300; i++) {
            seen.add(await read('d/secret'));
            await write('d/secret', 'mine');
            await ask('unlink', { place: at('d'), name: 'other', directory: 0 });
            if (how === 'pinned') await create(`n${i}`, 0o600, 0, 'd');
          }
          assert.equal(seen.has('secret'), false);
        } finally {
          racer.kill();
          await new Promise((resolve) => racer.once('exit', resolve));
        }
        untouched();
      });
    });
  }

  it('knows when a file has become another one', async () => {
    await openWith(true);
    const { inode } = (await stat('d/f')) as Attributes;
    assert.equal(await read('d/f', inode), 'inside');
    fs.writeFileSync(file('d/g'), 'another');
    fs.renameSync(file('d/g'), file('d/f'));
    assert.equal(await read('d/f', inode), E.STALE);
    fs.unlinkSync(file('d/f'));
    assert.equal(await read('d/f', inode), E.NOENT, 'removed while open');
  });

  it('changes nothing when it is read-only', async () => {
    await openWith(false);
    const changes: AnyRequest[] = [
      { op: 'write', values: { place: at('d/f'), offset: 0n, data: text('x') } },
      { op: 'create', values: { place: at(), name: 'n', flags: 0, mode: 0o644 } },
      { op: 'mkdir', values: { place: at(), name: 'n', mode: 0o755 } },
      { op: 'symlink', values: { place: at(), name: 'n', target: 'x' } },
      { op: 'unlink', values: { place: at('d'), name: 'f', directory: 0 } },
      { op: 'rename', values: { place: at('d'), name: 'f', to: at(), newName: 'f' } },
      { op: 'setattr', values: { place: at('d/f'), valid: 1, mode: 0o777, uid: 0, gid: 0, size: 0n, atime: 0n, mtime: 0n } }, // prettier-ignore
      { op: 'open', values: { place: at('d/f'), flags: 2 } },
      { op: 'open', values: { place: at('d/f'), flags: 5 } },
    ];
    for (const change of changes) assert.equal(decodeOpAnswer(change.op, await raw(change)), E.ROFS, change.op);
    assert.deepEqual(fs.readdirSync(root), ['d']);
    assert.equal(fs.readFileSync(file('d/f'), 'utf8'), 'inside');
  });

  it('is written when it may be', async () => {
    await openWith(true);
    const made = (await create('n', 0o104755)) as OpAnswer<'create'>;
    assert.equal(made.attributes.mode & 0o7000, 0, 'no set-user-ID');
    assert.equal(fs.statSync(file('n')).mode & 0o7700, 0o700);
    assert.equal(await create('n', 0o644, 1), E.EXIST);
    assert.deepEqual(await write('n', 'hello'), { count: 5 });
    assert.deepEqual(await write('n', '!', 7n), { count: 1 });
    assert.equal(fs.readFileSync(file('n'), 'latin1'), 'hello\0\0!');
    assert.equal(await write('n', 'x', 1n << 60n), E.FBIG);
    await create('n', 0o644, 2);
    assert.equal(fs.statSync(file('n')).size, 0, 'truncated');
    assert.equal(typeof (await ask('mkdir', { place: at(), name: 'm', mode: 0o755 })), 'object');
    assert.deepEqual(await ask('rename', { place: at(), name: 'n', to: at('m'), newName: 'o' }), {});
    assert.equal(fs.existsSync(file('m/o')), true);
    assert.equal(await ask('unlink', { place: at(), name: 'm', directory: 1 }), E.NOTEMPTY);
    assert.deepEqual(await ask('unlink', { place: at('m'), name: 'o', directory: 0 }), {});
    assert.deepEqual(await ask('unlink', { place: at(), name: 'm', directory: 1 }), {});
    assert.equal(typeof (await ask('symlink', { place: at(), name: 's', target: '/any/where' })), 'object');
    assert.equal(fs.readlinkSync(file('s')), '/any/where');
    const set = { place: at('d/f'), mode: 0o600, uid: 0, gid: 0, size: 3n, atime: 0n, mtime: 5_000000000n };
    assert.deepEqual(await ask('setattr', { ...set, valid: 0x1 | 0x8 | 0x20 | 0x100 }), {});
    const { mode, size, mtimeMs } = fs.statSync(file('d/f'));
    assert.deepEqual([mode & 0o7777, size, mtimeMs], [0o600, 3, 5000]);
    const uid = ((await stat('d/f')) as Attributes).uid;
    assert.equal(await ask('setattr', { ...set, valid: 2, uid: uid + 1 }), E.PERM, 'owners stay');
    assert.deepEqual(await ask('setattr', { ...set, valid: 2, uid }), {});
    assert.deepEqual(await ask('fsync', { place: at('d/f'), dataOnly: 0 }), {});
    // A file that was made read-only can still be written by whom has it open.
    await create('r', 0o444);
    assert.deepEqual(await write('r', 'x'), { count: 1 });
  });

  it('does one thing after the other, and nothing once it is closed', async () => {
    await openWith(true);
    await create('log');
    const writes = Array.from({ length: 50 }, (_, i) => write('log', String(i % 10), BigInt(i)));
    await Promise.all(writes);
    assert.equal(fs.readFileSync(file('log'), 'utf8'), '0123456789'.repeat(5));
    let answered = false;
    void write('log', 'late', 0n).then(() => (answered = true));
    service!.close();
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(answered, false);
    assert.equal(fs.readFileSync(file('log'), 'utf8'), '0123456789'.repeat(5));
  });

  it('takes no malformed request, and no more at a time than it can hold', async () => {
    await openWith(false);
    service!.message(Uint8Array.of(1, 2, 3));
    service!.message(Uint8Array.of(1, 0, 0, 0, 99));
    service!.message(encodeOpRequest({ op: 'statfs', values: {} }, 1).slice(0, 4));
    const answers = await Promise.all(Array.from({ length: 1100 }, () => ask('statfs', {})));
    assert.ok(answers.filter((answer) => answer === E.IO).length >= 70);
    assert.ok(answers.filter((answer) => typeof answer === 'object').length >= 1000);
  });

  it('must be a folder that is there', async () => {
    fs.writeFileSync(file('plain'), '');
    await assert.rejects(ShareFolder.at(file('plain')), { code: 'ENOTDIR' });
    await assert.rejects(ShareFolder.at(file('none')), { code: 'ENOENT' });
    // A link to a folder is what the user has named.
    fs.symlinkSync(root, path.join(outside, 'way'));
    await (
      await ShareFolder.at(path.join(outside, 'way'))
    ).with(['d'], async ({ stat: found }) => {
      assert.equal(found.isDirectory(), true);
    });
  });
});
