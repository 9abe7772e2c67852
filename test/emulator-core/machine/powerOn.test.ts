/** Guest RAM at power-on. */
import assert from 'node:assert';
import { HELLO, Run } from '../guestRun';
import { TestMachine } from '../testMachine';

describe('RAM at power-on', () => {
  it('is what a machine has after a reset', () => {
    const t = new TestMachine();
    const before = t.machine.memory.ram.slice();
    t.write(0x300000, new Uint8Array(0x20000).fill(0xa5));
    t.write(0, [1, 2, 3]);
    t.machine.reset();
    assert.ok(Buffer.from(t.machine.memory.ram).equals(Buffer.from(before)));
  });

  for (const steps of [false, true]) {
    it(`holds the guest again, its firmware and boot information, and the run is the same${steps ? ', in steps' : ''}`, () => {
      // Of 20 MB not all is cleared in one step.
      const run = new Run(HELLO, 'multiboot', { memory: 20 << 20, cpus: 2 });
      const { machine } = run;
      const before = machine.memory.ram.slice();
      const first = run.to(20_000).state;
      machine.memory.ram.fill(0x55);
      if (steps) assert.ok([...machine.resetInSteps()].length > 1);
      else machine.reset();
      assert.ok(Buffer.from(machine.memory.ram).equals(Buffer.from(before)));
      assert.equal(run.to(20_000).state, first);
    });
  }
});
