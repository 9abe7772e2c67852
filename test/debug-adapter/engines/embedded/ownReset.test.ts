/** A guest that resets the machine, again and again. */
import assert from 'node:assert/strict';
import { runGuest } from '../../../../debug-adapter/cli/runGuest';
import { createEmbeddedTarget } from '../../../../debug-adapter/engines/embedded';
import type { RunRequest, StopEvent, Target } from '../../../../debug-adapter/target';
import { totalIcount } from '../../../../debug-adapter/totalIcount';

const ROUNDS = 1000;
/** mov edi, ROUNDS; again: xor eax, eax; cpuid; dec edi; jnz again; mov dx, 0cf9h; mov al, 6; out dx, al */
const GUEST = [
  ...[0xbf, ROUNDS & 0xff, ROUNDS >> 8, 0, 0, 0x31, 0xc0, 0x0f, 0xa2, 0x4f, 0x75, 0xf9],
  ...[0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee],
];
const INSTRUCTIONS = 1 + 4 * ROUNDS + 3;

function createTarget(memory: number, record = true): Promise<Target> {
  return createEmbeddedTarget({
    kernel: { name: 'resets', bytes: Uint8Array.from(GUEST) },
    ...{ modules: [], cmdline: '', boot: 'raw', disks: [], memory, cpus: 1, mode: 'bare' },
    ...{ cpu: { vendor: 'intel', features: [] }, exits: [], record, stopOnEntry: false, debugExit: true },
  });
}

describe("a guest's own reset", () => {
  it('leaves the log of exits: each is listed once, in order', async () => {
    const LIVES = 40;
    const quit = new AbortController();
    const exits: [name: string, icount: number][] = [];
    let resets = 0;
    const outcome = await runGuest(
      { createTarget: () => createTarget(4 << 20) },
      {
        signal: quit.signal,
        onExits: (list) => {
          for (const { seq, name, icount, summary } of list) {
            assert.equal(seq, exits.length);
            exits.push([name, icount]);
            if (name === 'IO_INSTRUCTION' && summary.includes('0xcf9')) resets++;
          }
          if (resets >= LIVES) quit.abort();
        },
      },
    );
    assert.equal(outcome.end.kind, 'quit');
    assert.equal(outcome.lostExits, 0);
    assert.equal(
      exits.length,
      outcome.exitCounters.reduce((sum, { count }) => sum + count, 0),
    );
    assert.ok(resets >= LIVES);
    exits.forEach(([name, icount], i) => {
      const at = i % (ROUNDS + 1);
      if (at === ROUNDS) assert.deepEqual([name, icount], ['IO_INSTRUCTION', INSTRUCTIONS - 1], `exit ${i}`);
      else assert.deepEqual([name, icount], ['CPUID', 2 + 4 * at], `exit ${i}`);
    });
  });

  it('does not lead around a limit of instructions without a recording, or with stops on the way', async () => {
    const maxIcount = 3 * INSTRUCTIONS + 7;
    const without = await runGuest(
      { createTarget: () => createTarget(4 << 20, false) },
      { maxIcount, onExits: () => {} },
    );
    assert.equal(without.end.kind, 'limit');
    assert.ok(without.icount >= maxIcount, `${without.icount}`);
    const every = 1000;
    const stops: number[] = [];
    let target!: Target;
    const outcome = await runGuest(
      { createTarget: () => createTarget(4 << 20) },
      {
        maxIcount,
        onStart: (started) => (target = started),
        nextStop: () => (Math.floor(totalIcount(target) / every) + 1) * every,
        onStop: async () => void stops.push(totalIcount(target)),
      },
    );
    assert.deepEqual(outcome.end, { kind: 'limit', icount: maxIcount });
    assert.deepEqual(stops, [
      ...Array.from({ length: Math.floor(maxIcount / every) }, (_, i) => (i + 1) * every),
      maxIcount,
    ]);
  });

  it('does not lead around a limit of instructions', async () => {
    const maxIcount = 3 * INSTRUCTIONS + 7;
    const outcome = await runGuest({ createTarget: () => createTarget(4 << 20) }, { maxIcount });
    assert.deepEqual([outcome.end, outcome.icount], [{ kind: 'limit', icount: maxIcount }, maxIcount]);
  });

  it('is one step for the user, with all of it done behind it', async () => {
    const target = await createTarget(256 << 20);
    try {
      const run = (request: RunRequest) =>
        new Promise<StopEvent>((resolve, reject) => {
          target.setEvents({
            console: () => undefined,
            note: () => undefined,
            exitsChanged: () => undefined,
            continued: () => undefined,
            stopped: resolve,
            ended: () => reject(new Error('the guest has ended')),
          });
          target.run(request);
        });
      const entry = await target.readRegister(0, 'rip');
      await target.writeMemory('physical', 0, 0xff00000n, Uint8Array.of(0x55));
      const steps: [RunRequest, number][] = [
        [{ kind: 'stepInstruction', cpu: 0, over: false }, 0],
        // As many instructions more as it would be without the reset.
        [{ kind: 'gotoIcount', icount: INSTRUCTIONS + 100 }, 100],
        [{ kind: 'gotoIcount', icount: 3 * INSTRUCTIONS + 7 }, 7],
      ];
      for (const [step, expected] of steps) {
        await run({ kind: 'gotoIcount', icount: INSTRUCTIONS - 1 });
        assert.equal(target.icount(), INSTRUCTIONS - 1);
        await run(step);
        assert.equal(target.icount(), expected);
        if (!expected) assert.equal(await target.readRegister(0, 'rip'), entry);
        assert.deepEqual([...(await target.readMemory('physical', 0, 0xff00000n, 1))], [0]);
        // Not under way any more: this would be refused.
        await target.writeMemory('physical', 0, 0xff00000n, Uint8Array.of(0x55));
      }
    } finally {
      target.dispose();
    }
  });

  it('keeps writes from outside away and input for later, and a pause waits for its end', async () => {
    const target = await createTarget(256 << 20);
    try {
      const stopped = new Promise<void>((resolve, reject) => {
        target.setEvents({
          console: () => undefined,
          note: () => undefined,
          exitsChanged: () => undefined,
          continued: () => undefined,
          stopped: () => resolve(),
          ended: () => reject(new Error('the guest has ended')),
        });
      });
      target.run({ kind: 'continue', cpu: 0 });
      const resetting = async (): Promise<boolean> => {
        try {
          await target.writeMemory('physical', 0, 0x200000n, Uint8Array.of(0x55));
          return false;
        } catch (error) {
          assert.equal((error as Error).message, 'the guest is resetting the machine: wait for its end');
          return true;
        }
      };
      while (!(await resetting())) await new Promise((resolve) => setImmediate(resolve));
      assert.ok(target.consoleInput(Uint8Array.of(0x61)));
      target.pause();
      await stopped;
      assert.ok(target.icount() < INSTRUCTIONS);
      const [byte] = await target.readMemory('physical', 0, 0x200000n, 1);
      assert.equal(byte, 0);
      assert.equal(await resetting(), false);
    } finally {
      target.dispose();
    }
  });
});
