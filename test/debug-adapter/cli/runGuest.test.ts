import assert from 'node:assert';
import { runGuest, type RunOptions, type RunOutcome } from '../../../debug-adapter/cli/runGuest';
import type { ExitRecord } from '../../../debug-adapter/target';
import { ScriptedTarget, type Happening } from './scriptedTarget';

const powerOff: Happening = { icount: 5000, end: { kind: 'power off' } };

async function run(script: Happening[], options: RunOptions = {}, adjust?: (target: ScriptedTarget) => void) {
  const target = new ScriptedTarget(script);
  adjust?.(target);
  let text = '';
  const outcome: RunOutcome = await runGuest(
    { createTarget: async () => target.asTarget() },
    { onConsole: (data) => (text += new TextDecoder().decode(data)), ...options },
  );
  assert.strictEqual(target.disposed, 1);
  return { outcome, text, target };
}

describe('runGuest', () => {
  it('runs to power-off and passes the console on', async () => {
    const { outcome, text } = await run([{ icount: 10, console: 'one ' }, { icount: 3000, console: 'two' }, powerOff]);
    assert.deepStrictEqual(outcome.end, { kind: 'power off' });
    assert.strictEqual(outcome.status, 0);
    assert.strictEqual(outcome.icount, 5000);
    assert.strictEqual(text, 'one two');
  });

  // interface.md, "Command line": status 0 for v = 0, else (v << 1) | 1; 3 when the guest died.
  const ends: [string, Happening['end'], number][] = [
    ['debug exit with 0', { kind: 'debug exit', value: 0 }, 0],
    ['debug exit with 1', { kind: 'debug exit', value: 1 }, 3],
    ['debug exit with 42', { kind: 'debug exit', value: 42 }, 85],
    ['debug exit with 0x80, of which a process status keeps bit 0', { kind: 'debug exit', value: 0x80 }, 1],
    ['triple fault', { kind: 'triple fault', cpu: 0, rip: 0x10n, text: 'no IDT' }, 3],
    ['an engine that gives up', { kind: 'error', text: 'why' }, 3],
  ];
  for (const [name, end, status] of ends) {
    it(`gives status ${status} for ${name}`, async () => {
      const { outcome } = await run([{ icount: 1, end }]);
      assert.strictEqual(outcome.status, status);
    });
  }

  it('stops on its way where it is told, and goes on when that has been looked at', async () => {
    const stops: number[] = [];
    let at: (() => number) | undefined;
    const { outcome } = await run([{ ...powerOff, icount: 2500 }], {
      onStart: (target) => (at = () => target.icount()),
      nextStop: () => (Math.floor(at!() / 1000) + 1) * 1000,
      onStop: async () => {
        await new Promise((resolve) => setTimeout(resolve));
        stops.push(at!());
      },
    });
    assert.deepStrictEqual(stops, [1000, 2000]);
    assert.deepStrictEqual(outcome.end, { kind: 'power off' });
  });

  it('passes on what fails at such a stop', async () => {
    const stop = { nextStop: () => 1000, onStop: () => Promise.reject(new Error('no stack')) };
    await assert.rejects(run([powerOff], stop), /no stack/);
  });

  it('ends when the text was seen, also across pieces of output', async () => {
    const script: Happening[] = [
      { icount: 10, console: 'log' },
      { icount: 1500, console: 'in: ' },
      { ...powerOff, icount: 1e9 },
    ];
    const { outcome } = await run(script, { until: 'login:' });
    assert.deepStrictEqual(outcome.end, { kind: 'until', text: 'login:' });
    assert.strictEqual(outcome.status, 0);
    assert.ok(outcome.icount < 1e6);
  });

  it('finds a text whose UTF-8 is split between two pieces', async () => {
    const bytes = new TextEncoder().encode('käse');
    const script: Happening[] = [
      { icount: 1, console: bytes.subarray(0, 2) },
      { icount: 2, console: bytes.subarray(2) },
      { ...powerOff, icount: 1e9 },
    ];
    assert.strictEqual((await run(script, { until: 'käse' })).outcome.end.kind, 'until');
  });

  it('stops exactly at the limit where the engine can', async () => {
    const { outcome, target } = await run([], { maxIcount: 2345 });
    assert.deepStrictEqual(outcome.end, { kind: 'limit', icount: 2345 });
    assert.strictEqual(outcome.status, 124);
    assert.strictEqual(outcome.icount, 2345);
    assert.deepStrictEqual(target.runs, [{ kind: 'gotoIcount', icount: 2345 }]);
  });

  it('stops soon after the limit where the engine can only pause', async () => {
    const { outcome } = await run([], { maxIcount: 2345 }, (target) => (target.timeTravel = false));
    assert.strictEqual(outcome.status, 124);
    assert.ok(outcome.icount >= 2345);
  });

  it('sees a Linux panic by its last line', async () => {
    const script: Happening[] = [
      { icount: 1, console: 'Kernel panic - not syncing: VFS: Unable to mount root fs\r\n' },
      { icount: 2, console: '---[ end Kernel panic - not syncing: VFS: Unable to mount root fs ]---\r\n' },
    ];
    const { outcome, text } = await run(script);
    assert.strictEqual(outcome.end.kind, 'panic');
    assert.strictEqual(outcome.status, 3);
    assert.match(text, /end Kernel panic/);
  });

  it('takes a guest that sleeps for ever for dead', async () => {
    const { outcome } = await run([{ icount: 7, halt: true }]);
    assert.deepStrictEqual(outcome.end, { kind: 'asleep' });
    assert.strictEqual(outcome.status, 3);
  });

  it('can be ended from outside, also before it starts', async () => {
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 20);
    assert.deepStrictEqual((await run([], { signal: abort.signal })).outcome.end, { kind: 'quit' });
    assert.deepStrictEqual((await run([], { signal: AbortSignal.abort() })).outcome.end, { kind: 'quit' });
  });

  it('hands out each exit once, in order, slice by slice', async () => {
    const script: Happening[] = [];
    for (let i = 1; i <= 300; i++) script.push({ icount: i * 10, exit: { name: i % 3 ? 'CPUID' : 'HLT' } });
    const seen: ExitRecord[] = [];
    const { outcome } = await run(
      [...script, powerOff],
      { onExits: (exits) => seen.push(...exits), exitSlice: 100 },
      (target) => (target.ringSize = 20),
    );
    assert.deepStrictEqual(
      seen.map((exit) => exit.seq),
      Array.from({ length: 300 }, (_, seq) => seq),
    );
    assert.strictEqual(outcome.lostExits, 0);
  });

  it('counts exits that left the ring unseen', async () => {
    const script = Array.from({ length: 50 }, (_, i): Happening => ({ icount: i + 1, exit: {} }));
    const seen: ExitRecord[] = [];
    const { outcome } = await run(
      [...script, { icount: 60, end: { kind: 'power off' } }],
      { onExits: (exits) => seen.push(...exits) },
      (target) => (target.ringSize = 20),
    );
    assert.strictEqual(seen.length, 20);
    assert.strictEqual(outcome.lostExits, 30);
  });

  it('passes on an error of a callback and of the factory', async () => {
    const broken = () => {
      throw new Error('disk full');
    };
    await assert.rejects(run([{ icount: 1, console: 'x' }, powerOff], { onConsole: broken }), /disk full/);
    await assert.rejects(runGuest({ createTarget: async () => Promise.reject(new Error('no kernel')) }), /no kernel/);
  });
});
