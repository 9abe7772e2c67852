import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { DebugClient } from '@vscode/debugadapter-testsupport';
import { connect, launch } from './client';
import { FIXTURE } from './fakeTarget';

/** A client on the streams of a program. */
class StreamClient extends DebugClient {
  constructor(readable: Readable, writable: Writable) {
    super('node', '', 'ringside');
    this.connect(readable, writable);
  }
}

const root = path.join(__dirname, '..', '..');
const program = [path.join(__dirname, 'fakeAdapter.ts')];

describe('the adapter as a program', () => {
  it('speaks DAP on its standard streams and ends when the client disconnects', async () => {
    const child = spawn(process.execPath, ['-r', 'tsx/cjs', ...program], {
      cwd: root,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
    const client = new StreamClient(child.stdout, child.stdin);
    client.defaultTimeout = 20_000;
    await client.initializeRequest();
    const initialized = client.waitForEvent('initialized');
    await client.launchRequest({ kernel: FIXTURE } as never);
    await initialized;
    const [stopped] = await Promise.all([client.waitForEvent('stopped'), client.configurationDoneRequest()]);
    assert.equal(stopped.body.reason, 'entry');
    await client.disconnectRequest();
    assert.equal(await exited, 0);
  });

  it('ends when its input does', async () => {
    const child = spawn(process.execPath, ['-r', 'tsx/cjs', ...program], {
      cwd: root,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    child.stdin.end();
    assert.equal(await new Promise((resolve) => child.once('exit', resolve)), 0);
  });

  it('serves several sessions at once on a port', async () => {
    const [one, two] = [await connect(), await connect()];
    await Promise.all([launch(one), launch(two)]);
    await one.close();
    assert.equal((await two.client.threadsRequest()).body.threads.length, 1);
    assert.equal(one.engine.machines[0].disposed, true);
    await two.close();
  });
});
