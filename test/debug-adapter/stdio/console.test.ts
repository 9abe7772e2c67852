/** The serial console through the built adapter: all of a guest's output, in order, and a guest held while nobody takes it. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { flood } from '../../guests/serialFlood';
import { guest, withAdapter, type Adapter } from './adapter';

const attributes = { kernel: guest('serialFlood'), boot: 'multiboot' };
const received = (a: Adapter): Buffer[] =>
  a.events
    .filter((event) => event.event === 'ringside/console')
    .map((event) => Buffer.from(event.body.data as string, 'base64'));

/** For comparing: a difference is told by its place, not by two megabytes of text. */
function assertSame(actual: string, expected: string): void {
  assert.equal(actual.length, expected.length);
  let at = 0;
  while (at < expected.length && actual[at] === expected[at]) at++;
  assert.equal(actual.slice(at, at + 80), expected.slice(at, at + 80), `differs from character ${at}`);
}

describe('the serial console over stdio', () => {
  it('brings more than a megabyte as output events, whole and in order', () =>
    withAdapter(async (a) => {
      await a.begin(attributes);
      assert.equal(await a.finish(), 0);
      assertSame(a.output('stdout'), flood());
    }));

  it('brings it to a terminal that attaches while the guest prints', () =>
    withAdapter(async (a) => {
      await a.begin({ ...attributes, console: 'terminal', __attachConsole: true });
      const ended = a.event('terminated');
      await a.continueRequest({ threadId: 1 });
      const { data, missing } = await a.request('ringside/consoleAttach', {});
      assert.equal(missing, 0);
      // The adapter answers while output is under way.
      while (received(a).length < 5) assert.equal((await a.threadsRequest()).body.threads.length, 1);
      await ended;
      assertSame(Buffer.concat([Buffer.from(data, 'base64'), ...received(a)]).toString(), flood());
    }));

  it('writes it into a file', async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'ringside-console-'));
    const file = path.join(folder, 'serial.log');
    try {
      await withAdapter(async (a) => {
        await a.begin({ ...attributes, console: { file } });
        assert.equal(await a.finish(), 0);
      });
      assertSame(await readFile(file, 'utf8'), flood());
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('holds the guest while the client reads nothing, and goes on where it was', () =>
    withAdapter(async (a) => {
      await a.begin({ ...attributes, console: 'terminal', __attachConsole: true });
      await a.request('ringside/consoleAttach', {});
      const ended = a.event('terminated', undefined, 60_000);
      await a.continueRequest({ threadId: 1 });
      a.hold(true);
      // As long as the whole output takes otherwise, several times over.
      await new Promise((resolve) => setTimeout(resolve, 4000));
      a.hold(false);
      await ended;
      assertSame(Buffer.concat(received(a)).toString(), flood());
    }));
});
