/** `ringside run --profile` with the sample guest, whose functions are where a debugger finds them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { main } from '../../../debug-adapter/cli/main';
import type { Services } from '../../../debug-adapter/cli/services';
import { createEmbeddedTarget, embeddedEngine } from '../../../debug-adapter/engines/embedded';
import { planLaunch } from '../../../debug-adapter/launchConfig';
import { nodeHost } from '../../../debug-adapter/node/host';
import { SymbolStore } from '../../../debug-adapter/symbols/symbolStore';
import type { RunRequest } from '../../../debug-adapter/target';
import packageJson from '../../../package.json';

const HELLO = path.join(__dirname, '../../../samples/hello-guest/hello.elf');
const EVERY = 500;

const schema = packageJson.contributes.debuggers[0].configurationAttributes.launch as unknown as Services['schema'];

interface Result {
  status: number;
  err: string;
  /** What was written to the profile's file. */
  file: string;
}

async function ringside(...args: string[]): Promise<Result> {
  const result: Result = { status: -1, err: '', file: '' };
  const services: Services = {
    schema,
    version: '1.2.3',
    host: nodeHost,
    engine: embeddedEngine,
    userHome: '/',
    env: {},
    out: () => {},
    err: (text) => (result.err += text),
    createTrace: () => ({ write: (text) => (result.file += text), close: () => {} }),
    onInterrupt: () => () => {},
    now: () => 0,
    serveDap: async () => 0,
  };
  result.status = await main(args, services);
  return result;
}

/** Instruction counts before a function's first instruction and behind its return, when it is called for the first time. */
async function firstCall(name: string): Promise<{ from: number; to: number }> {
  const launch = { type: 'ringside', request: 'launch', kernel: HELLO, record: true, stopOnEntry: true };
  const target = await createEmbeddedTarget((await planLaunch(launch, schema, [], nodeHost)).engine);
  const symbols = new SymbolStore();
  symbols.addFile(HELLO, new Uint8Array(readFileSync(HELLO)));
  const { address } = symbols.findSymbol(name)!;
  const run = (request: RunRequest): Promise<void> =>
    new Promise((resolve, reject) => {
      target.setEvents({
        stopped: () => resolve(),
        continued: () => undefined,
        ended: () => reject(new Error('the guest ended')),
        console: () => undefined,
        note: () => undefined,
        exitsChanged: () => undefined,
      });
      target.run(request);
    });
  target.setBreakpoints({ execution: [{ id: 1, address }], data: [], exits: [], exceptions: [] });
  await run({ kind: 'continue' });
  const from = target.icount();
  const stackPointer = await target.readRegister(0, 'rsp');
  const bytes = await target.readMemory('virtual', 0, stackPointer, 8);
  const back = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  target.setBreakpoints({ execution: [], data: [], exits: [], exceptions: [] });
  await run({ kind: 'runTo', cpu: 0, address: back, stackPointer });
  const to = target.icount();
  target.dispose();
  return { from, to };
}

interface Speedscope {
  shared: { frames: { name: string; file?: string; line?: number }[] };
  profiles: { name: string; endValue: number; samples: number[][]; weights: number[] }[];
}

describe('ringside run --profile', () => {
  it('counts each function for as long as it runs, with who called it', async () => {
    const { status, err, file } = await ringside('run', HELLO, '--profile', 'p.speedscope.json', '--profile-every', `${EVERY}`, '--stats', '--json'); // prettier-ignore
    assert.equal(status, 0, err);
    const { instructions } = JSON.parse(err.trimEnd().split('\n').pop()!) as { instructions: number };
    const { shared, profiles } = JSON.parse(file) as Speedscope;
    assert.deepEqual(
      profiles.map(({ name, endValue }) => [name, endValue]),
      [['vCPU 0', Math.floor(instructions / EVERY) * EVERY]],
    );
    const [{ samples, weights }] = profiles;
    assert.equal(samples.length, Math.floor(instructions / EVERY));
    assert.ok(weights.every((weight) => weight === EVERY));
    const stacks = samples.map((sample) => sample.map((frame) => shared.frames[frame].name));
    for (const name of ['interrupts_init', 'paging_init', 'show_processor', 'walk_tasks']) {
      const { from, to } = await firstCall(name);
      // A sample is of the instruction that comes next.
      const within = stacks.filter(
        (stack, i) => stack.includes(name) && (i + 1) * EVERY >= from && (i + 1) * EVERY < to,
      );
      assert.equal(within.length, Math.ceil(to / EVERY) - Math.ceil(from / EVERY), `${name} from ${from} to ${to}`);
      for (const stack of within) assert.equal(stack[stack.indexOf(name) - 1], 'kernel_main');
    }
    const printing = stacks.filter((stack) => stack.includes('print_char'));
    assert.ok(printing.length > 10);
    for (const stack of printing)
      assert.ok(stack.includes('print') && stack.indexOf('kernel_main') < stack.indexOf('print'));
    assert.match(shared.frames.find(({ name }) => name === 'paging_init')!.file!, /paging\.c$/);
    // A function is at the line that declares it, not where a sample met it; what is assembled declares nothing.
    const written = shared.frames.filter(({ file }) => file && /\.[ch]$/.test(file));
    assert.ok(written.length > 20);
    for (const { name, file, line } of written) {
      const source = readFileSync(path.join(path.dirname(HELLO), path.basename(file!)), 'utf8').split('\n')[line! - 1];
      assert.match(source, new RegExp(`\\b${name}\\(`), `${name} is at ${file}:${line}`);
    }
  });

  it('gives the same file each time, and leaves the run as it is', async () => {
    const args = ['run', HELLO, '--profile', 'p.cpuprofile', '--profile-every', '2K', '--stats', '--json'];
    const [first, second, without] = [await ringside(...args), await ringside(...args), await ringside('run', HELLO, '--stats', '--json')]; // prettier-ignore
    assert.ok(first.file.length > 1000);
    assert.equal(first.file, second.file);
    const count = ({ err }: Result): number => (JSON.parse(err.trimEnd().split('\n').pop()!) as { instructions: number }).instructions; // prettier-ignore
    assert.equal(count(first), count(without));
  });

  it('ends at --max-icount, with the samples so far', async () => {
    const { status, file } = await ringside('run', HELLO, '--profile', 'p.speedscope.json', '--profile-every', '1000', '--max-icount', '10500'); // prettier-ignore
    assert.equal(status, 124);
    assert.equal((JSON.parse(file) as Speedscope).profiles[0].endValue, 10_000);
  });

  const wrong: [args: string[], message: RegExp][] = [
    [['--profile', 'p.json'], /--profile: expected a file whose name ends in \.cpuprofile or \.speedscope\.json, got 'p\.json'/],
    [['--profile-every', '1000'], /--profile-every: goes with --profile FILE/],
    [['--profile', 'p.cpuprofile', '--profile-every', 'often'], /--profile-every: expected a count such as 100000 or 100M, got 'often'/],
    [['--profile', 'p.cpuprofile', '--no-record'], /--profile: needs "record": true/],
  ]; // prettier-ignore
  for (const [args, message] of wrong) {
    it(`refuses ${args.join(' ')}`, async () => {
      const { status, err } = await ringside('run', HELLO, ...args);
      assert.equal(status, 2);
      assert.match(err, message);
    });
  }
});
