import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { DapClient } from '../../scripts/lib/dapClient.mjs';

/** An adapter that answers every request with its arguments, two messages in one write, headers split in the middle. */
const echo = `
const frame = (message) => {
  const text = JSON.stringify(message);
  return 'Content-Length: ' + Buffer.byteLength(text) + '\\r\\n\\r\\n' + text;
};
let input = Buffer.alloc(0);
process.stdin.on('data', (chunk) => {
  input = Buffer.concat([input, chunk]);
  for (;;) {
    const end = input.indexOf('\\r\\n\\r\\n');
    if (end < 0) return;
    const length = Number(/\\d+/.exec(input.toString('latin1', 0, end))[0]);
    if (input.length < end + 4 + length) return;
    const { seq, command, arguments: body } = JSON.parse(input.toString('utf8', end + 4, end + 4 + length));
    input = input.subarray(end + 4 + length);
    if (command === 'disconnect') process.exit(0);
    if (command === 'die') { console.error('so be it'); process.exit(3); }
    const success = command !== 'fail';
    const all = Buffer.from(frame({ type: 'event', event: 'stopped', body: { reason: 'é' } }) +
      frame({ type: 'response', request_seq: seq, command, success, body, message: 'will not' }));
    process.stdout.write(all.subarray(0, 9));
    setTimeout(() => process.stdout.write(all.subarray(9)), 5);
  }
});
`;

describe('the DAP client of the scripts', () => {
  let folder, client;

  before(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'ringside-dap-'));
    writeFileSync(path.join(folder, 'echo.cjs'), echo);
  });
  beforeEach(() => (client = new DapClient(path.join(folder, 'echo.cjs'))));
  afterEach(() => client.close());
  after(() => rmSync(folder, { recursive: true }));

  it('takes messages apart wherever the stream is split', async () => {
    assert.deepEqual(await client.request('anything', { text: 'ü 漢' }), { text: 'ü 漢' });
  });

  it('keeps an event until somebody asks for it', async () => {
    await client.request('anything');
    assert.deepEqual(await client.next('stopped'), { reason: 'é' });
  });

  it("fails a request with the adapter's message", async () => {
    await assert.rejects(client.request('fail'), /will not/);
  });

  it('fails what is waiting when the adapter ends, with what it said last', async () => {
    await assert.rejects(client.request('die'), /status 3\nso be it/);
  });
});
