/** The adapter's process as the editor sees it, with programs of the test's own in its place. */
import assert from 'node:assert';
import { AdapterProcess, type OwnEvent } from '../../../src/adapterProcess';
import { until } from '../fixtures/helpers';

const say = (...messages: object[]) =>
  messages
    .map((message) => JSON.stringify(message))
    .map((json) => `process.stdout.write(${JSON.stringify(`Content-Length: ${json.length}\r\n\r\n${json}`)});`)
    .join('');
const terminated = { type: 'event', seq: 0, event: 'terminated' };

function start(script: string): { adapter: AdapterProcess; sent: object[]; own: OwnEvent[] } {
  const [sent, own]: [object[], OwnEvent[]] = [[], []];
  const env = { ...process.env, ELECTRON_RUN_AS_NODE: '1' };
  const adapter = new AdapterProcess([process.execPath, '-e', script], { env }, (event) => own.push(event));
  adapter.onDidSendMessage((message) => sent.push(message));
  return { adapter, sent, own };
}

describe("the adapter's process", () => {
  it("keeps Ringside's own events from the window, and passes all else on", async () => {
    const [first, second] = [
      { type: 'event', event: 'output', seq: 1 },
      { type: 'event', event: 'stopped', seq: 3 },
    ];
    const console_ = { type: 'event', event: 'ringside/console', seq: 2, body: { data: 'YQ==' } };
    const { adapter, sent, own } = start(`${say(first, console_, second)} setInterval(() => 0, 1000);`);
    await until(() => sent.length === 2, 'two messages');
    adapter.dispose();
    assert.deepEqual(sent, [first, second]);
    assert.deepEqual(own, [console_]);
  });

  it('that ends by itself ends the session and answers what was asked', async () => {
    const { adapter, sent } = start(`process.stdin.once('data', () => process.exit(3)); console.error('why');`);
    adapter.handleMessage({ type: 'request', seq: 7, command: 'threads' } as never);
    await until(() => sent.length === 2, 'an answer and the end');
    const message = 'the debug adapter has ended';
    assert.deepEqual(sent, [
      { type: 'response', seq: 0, request_seq: 7, command: 'threads', success: false, message },
      terminated,
    ]);
    adapter.handleMessage({ type: 'request', seq: 8, command: 'next' } as never);
    assert.equal((sent[2] as { request_seq: number }).request_seq, 8);
  });

  it('that prints what is no DAP ends the session', async () => {
    const { sent } = start(`console.log('hello\\r\\n\\r\\n'); setInterval(() => 0, 1000);`);
    await until(() => sent.length === 1, 'the end');
    assert.deepEqual(sent, [terminated]);
  });

  it('that says so itself has ended once', async () => {
    const { sent } = start(say({ ...terminated, seq: 5 }));
    await until(() => sent.length === 1, 'the end');
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(sent.length, 1);
  });
});
