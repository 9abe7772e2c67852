/** Determinism and time travel of whole guests. */
import assert from 'node:assert';
import { Machine } from '../../emulator-core/machine';
import { HELLO, Run, subjects } from './guestRun';
import { quietHooks } from './testMachine';

const LIMIT = 1_000_000;

describe('determinism', () => {
  for (const { name, file, boot } of subjects) {
    const memory = name === 'hello-guest' ? 16 << 20 : 4 << 20;
    it(`${name}: twice, in slices, and back in time`, () => {
      const first = new Run(file, boot, { memory }).to(LIMIT);
      const end = first.icount;
      const last = first.state;
      const middle = Math.floor(end / 3);
      const at = new Run(file, boot, { memory });
      at.to(middle);
      const want = at.state;
      at.to(LIMIT);
      assert.strictEqual(at.state, last, 'the same run twice');
      assert.strictEqual(at.text, first.text);

      const sliced = new Run(file, boot, { memory });
      sliced.to(middle, 997);
      assert.strictEqual(sliced.state, want, 'in slices of 997');
      sliced.to(middle + 300, 1);
      sliced.to(LIMIT, 12_345);
      assert.strictEqual(sliced.state, last, 'in slices of 1 and 12,345');

      const recorded = new Run(file, boot, { memory });
      const { machine } = recorded;
      machine.record();
      recorded.to(Math.floor(middle / 2));
      machine.history.take();
      recorded.to(middle);
      machine.history.take();
      recorded.to(LIMIT);
      assert.strictEqual(recorded.state, last, 'recorded');
      for (const target of [middle, Math.floor(middle / 2) + 1, 0, middle]) {
        const reached = machine.history.restoreBefore(target);
        assert.ok(reached <= target);
        recorded.to(target);
        const fresh = new Run(file, boot, { memory }).to(target);
        assert.strictEqual(recorded.state, fresh.state, `back at ${target}`);
      }
      recorded.to(LIMIT);
      assert.strictEqual(recorded.state, last, 'forward again');
      assert.strictEqual(recorded.text, first.text, 'nothing is printed twice');
    });
  }

  it('several vCPUs', () => {
    const make = (): Run => new Run(HELLO, 'multiboot', { memory: 16 << 20, cpus: 2 });
    const first = make().to(300_000).state;
    assert.strictEqual(make().to(300_000, 7_001).state, first);
  });

  it('input at an instruction count is part of history', () => {
    const typed = (slice: number): Run => {
      const run = new Run(HELLO, 'multiboot', { memory: 16 << 20 });
      run.to(20_000, slice);
      run.machine.user.type(new TextEncoder().encode('abc'));
      return run.to(60_000, slice);
    };
    assert.strictEqual(typed(1_000).state, typed(Infinity).state);
  });
});

describe('reset', () => {
  it('starts as the first time', () => {
    const run = new Run(HELLO, 'multiboot', { memory: 16 << 20 });
    run.to(LIMIT);
    const first = run.state;
    const text = run.text;
    run.text = '';
    run.machine.reset();
    run.to(LIMIT);
    assert.strictEqual(run.text, text);
    assert.strictEqual(run.state, first);
  });

  it('a guest that resets the machine for ever does not keep run()', () => {
    const machine = resetting(4 << 20);
    assert.strictEqual(machine.run(10), 'budget');
    assert.strictEqual(machine.core.retired, 1);
  });

  it('is gone back to the very place of without being done, and forgotten where another state comes', () => {
    const machine = resetting(4 << 20);
    machine.record();
    // The third instruction has asked for it, and no more was to run.
    assert.equal(machine.run(3), 'budget');
    assert.ok(machine.resetPending);
    assert.equal(machine.core.retired, 3);
    assert.throws(() => machine.snapshot(), /about to reset the machine/);
    machine.history.restoreBefore(0);
    assert.ok(!machine.resetPending);
    for (let i = 0; i < 3; i++) machine.run(1);
    assert.deepEqual([machine.core.retired, machine.history.start, machine.retiredBefore], [3, 0, 0]);
    // Half of it.
    machine.run(1, undefined, Infinity, 5);
    assert.ok(machine.resetting);
    machine.history.restoreBefore(0);
    assert.ok(!machine.resetting);
  });

  it("the guest's own is done in steps for who has no patience, and comes to the same", () => {
    const memory = 16 << 20;
    const MARK = 64 << 10;
    const [atOnce, inSteps] = [resetting(memory), resetting(memory)];
    const marks = (machine: Machine): number => {
      let set = 0;
      for (let at = MARK - 1; at < memory; at += MARK) if (machine.memory.ram[at] === 0x55) set++;
      return set;
    };
    for (const machine of [atOnce, inSteps]) {
      machine.record();
      for (let at = MARK - 1; at < memory; at += MARK) machine.memory.ram[at] = 0x55;
    }
    assert.equal(atOnce.run(4), 'budget');
    const patience = 10;
    let left = memory / MARK;
    let calls = 0;
    assert.equal(inSteps.run(3), 'budget');
    assert.equal(marks(inSteps), left);
    do {
      assert.equal(inSteps.run(1, undefined, Infinity, patience), 'budget');
      const now = marks(inSteps);
      assert.ok(left - now <= patience + 1, `${left - now} pieces of ${MARK} bytes cleared in one call`);
      left = now;
      calls++;
    } while (inSteps.resetting);
    assert.ok(calls > memory / MARK / (patience + 2), `${calls} calls`);
    while (inSteps.core.retired < 1) inSteps.run(1);
    const same = (): void => {
      assert.equal(inSteps.core.retired, atOnce.core.retired);
      assert.equal(inSteps.clock.now(), atOnce.clock.now());
      assert.ok(Buffer.from(inSteps.memory.ram).equals(Buffer.from(atOnce.memory.ram)));
      assert.deepEqual(inSteps.platform.save(), atOnce.platform.save());
      assert.deepEqual(inSteps.vmm.log.newest(9), atOnce.vmm.log.newest(9));
    };
    same();
    // Recorded history begins at the reset.
    for (const machine of [atOnce, inSteps]) {
      assert.equal(machine.history.restoreBefore(0), 0);
      assert.equal(machine.run(2), 'budget');
    }
    same();
  });
});

/** A machine whose guest resets it with its third instruction, again and again. */
function resetting(memory: number): Machine {
  // mov dx, 0cf9h; mov al, 6; out dx, al
  const kernel = {
    name: 'k',
    kernel: Uint8Array.of(0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee),
    protocol: 'raw' as const,
  };
  const options = { memory, cpus: 1, vendor: 'intel' as const, features: [], debugExit: true, startTime: 0 };
  return new Machine({ ...options, kernel: { ...kernel, cmdline: '', modules: [] } }, quietHooks());
}
