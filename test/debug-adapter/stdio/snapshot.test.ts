/** Snapshots over DAP: saved by one adapter, taken up by another. */
import { randomBytes } from 'node:crypto';
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { hello, refusal, withAdapter, type Adapter, type Launch } from './adapter';

describe('snapshots over stdio', () => {
  let folder: string;
  before(() => (folder = mkdtempSync(path.join(tmpdir(), 'ringside-snapshot-'))));
  after(() => rmSync(folder, { recursive: true }));
  const inFolder = (name: string): string => path.join(folder, name);

  async function state(a: Adapter): Promise<string> {
    const scopes = [];
    for (const name of ['Registers', 'Segments', 'Control', 'MSRs']) scopes.push(await a.scope(name));
    return JSON.stringify([await a.icount(), await a.stack(), scopes, await a.repl('info devices')]);
  }

  /** A session stopped at main.c:306 that has saved itself there; what it looked like then and at its end. */
  async function saved(file: string, attributes: Launch = {}): Promise<{ at: string; rest: string }> {
    let result: { at: string; rest: string } | undefined;
    await withAdapter(async (a) => {
      await a.begin(attributes, () => a.breakAt('main.c', 306));
      await a.go();
      const at = await state(a);
      const answer = await a.repl(`save ${file}`);
      assert.match(answer, new RegExp(`^saved icount ${await a.icount()} to '.*' \\(\\d+\\.\\d MiB\\)$`));
      assert.equal(await state(a), at, 'saving changes nothing');
      const before = a.console.length;
      await a.breakAt('main.c');
      await a.finish();
      result = { at, rest: a.console.slice(before) };
    });
    return result!;
  }

  it('F5 with from starts where it was, with the stack, and goes on as it would have', async () => {
    const file = inFolder('a.snapshot');
    const { at, rest } = await saved(file);
    assert.deepEqual(readdirSync(folder), ['a.snapshot'], 'nothing else is left');
    await withAdapter(async (a) => {
      const stop = await a.begin({ from: file });
      assert.equal(stop.reason, 'entry');
      assert.equal(await state(a), at);
      assert.equal(a.console, '');
      await a.finish();
      assert.equal(a.console, rest);
    });
  });

  it('with "snapshot", and with the default of the kernel\'s name in the workspace', async () => {
    const file = inFolder('named.snapshot');
    const { at } = await saved('', { snapshot: file });
    await withAdapter(async (a) => {
      await a.begin({ from: 'snapshot', snapshot: file });
      assert.equal(await state(a), at);
      await a.into('instruction');
      assert.notEqual(await state(a), at);
      assert.equal((await a.back('instruction')).reason, 'step');
      assert.equal(await state(a), at);
      assert.equal((await a.reverse()).text, 'Start of recorded history');
      assert.equal(await state(a), at);
    });
    copyFileSync(file, inFolder('hello.elf.snapshot'));
    await withAdapter(async (a) => {
      await a.begin({ from: 'snapshot', __workspaceFolder: folder });
      assert.equal(await state(a), at);
    });
  });

  it('restore takes a session back: breakpoints stay, history begins there, the client hears of it', async () => {
    const file = inFolder('b.snapshot');
    const { at } = await saved(file);
    await withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', 309));
      await a.go();
      const later = await state(a);
      await a.back('instruction');
      const invalidated = a.event('invalidated');
      const stop = await a.stop_(async () => {
        assert.match(
          await a.repl(`restore ${file}`),
          /^restored icount \d+ from '.*b\.snapshot'; history begins here$/,
        );
      });
      assert.deepEqual([stop.reason, stop.text], ['goto', 'Restored from b.snapshot']);
      assert.deepEqual((await invalidated).body.areas, ['all']);
      assert.equal(await state(a), at);
      assert.equal((await a.go()).reason, 'breakpoint');
      assert.equal(await state(a), later);
      assert.equal((await a.reverse()).text, 'Start of recorded history');
      assert.equal(await state(a), at);
    });
  });

  it('restart goes to where the launch said', async () => {
    const file = inFolder('c.snapshot');
    const { at } = await saved(file);
    await withAdapter(async (a) => {
      await a.begin({ from: file }, () => a.breakAt('main.c', 309));
      await a.go();
      assert.equal((await a.stop_(() => a.restartRequest({}))).reason, 'entry');
      assert.equal(await state(a), at);
    });
  });

  it('bad files and other machines fail with what is wrong, and the session goes on', async () => {
    const file = inFolder('d.snapshot');
    const { at } = await saved(file);
    const bytes = readFileSync(file);
    bytes[bytes.length >> 1] ^= 1;
    writeFileSync(inFolder('damaged.snapshot'), bytes);
    const launch = (attributes: Launch): Promise<string> =>
      new Promise((resolve, reject) => {
        withAdapter(async (a) => resolve(await refusal(a.configure(attributes)))).catch(reject);
      });
    assert.match(await launch({ from: inFolder('none') }), /^from: there is no file '.*none'$/);
    assert.match(await launch({ from: folder }), /^from: can't read '.*': it is a folder$/);
    assert.match(await launch({ from: hello }), /^from: 'hello\.elf', offset 0x0: expected 'RINGSNAP'/);
    assert.match(await launch({ from: inFolder('damaged.snapshot') }), /^from: 'damaged\.snapshot'/);
    assert.equal(
      await launch({ from: file, memory: '32M' }),
      'from: memory: the snapshot was taken with 16M, this machine has 32M',
    );
    await withAdapter(async (a) => {
      await a.begin({ from: file });
      assert.match(await refusal(a.repl('restore nowhere')), /^restore: '.*nowhere': there is no such file/);
      assert.match(
        await refusal(a.repl(`restore ${inFolder('damaged.snapshot')}`)),
        /^restore: '.*': 'damaged\.snapshot'/,
      );
      assert.match(
        await refusal(a.repl(`save ${inFolder('no/where')}`)),
        /^save: can't write '.*': there is no folder '.*\/no'/,
      );
      assert.equal(await state(a), at);
      await a.breakAt('main.c');
      await a.finish();
    });
  });

  it('neither while the guest runs; a failed or cancelled save leaves the earlier file', async () => {
    const file = inFolder('e.snapshot');
    writeFileSync(file, 'mine');
    await withAdapter(async (a) => {
      await a.initializeRequest({ adapterID: 'r', pathFormat: 'path', supportsProgressReporting: true });
      const initialized = a.event('initialized');
      await a.launchRequest({ kernel: path.join(path.dirname(hello), '../../test/guests/spin.bin'), boot: 'raw', memory: '1G', stopOnEntry: false } as object); // prettier-ignore
      await initialized;
      await a.configurationDoneRequest();
      assert.match(await refusal(a.repl(`save ${file}`)), /the guest is running; pause it first/);
      assert.match(await refusal(a.repl(`restore ${file}`)), /the guest is running; pause it first/);
      await a.stop_(() => a.pauseRequest({ threadId: 1 }));

      // Memory that takes a while to compress.
      for (let part = 0; part < 12; part++) {
        const memoryReference = `phys:0x${(0x1000000 + (part << 22)).toString(16)}`;
        await a.request('writeMemory', { memoryReference, data: randomBytes(4 << 20).toString('base64') });
      }

      const progress: string[] = [];
      const started = new Promise<string>((resolve) =>
        a.on('progressStart', (event) => {
          progress.push(event.body.title);
          resolve(event.body.progressId);
        }),
      );
      a.on('progressEnd', () => progress.push('end'));
      const cancelled = refusal(a.repl(`save ${file}`));
      const progressId = await started;
      assert.match(await refusal(a.continueRequest({ threadId: 1 })), /a snapshot is being saved: wait for its end/);
      await a.request('cancel', { progressId });
      assert.match(await cancelled, /cancelled/);
      assert.deepEqual(progress, ['Saving e.snapshot', 'end']);
      assert.equal(readFileSync(file, 'utf8'), 'mine');
      assert.ok(!readdirSync(folder).some((name) => name.endsWith('.part')));

      await a.repl(`save ${file}`);
      assert.notEqual(readFileSync(file, 'utf8'), 'mine');
      assert.ok(existsSync(file));
    });
  });
});
