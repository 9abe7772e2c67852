/** Guest RAM at power-on: kept without its zeros, restored with them. */
import assert from 'node:assert';
import { PowerOnImage } from '../../../emulator-core/machine/powerOnImage';
import { TestMachine } from '../testMachine';

describe('RAM at power-on', () => {
  it('keeps what is not zero and restores all of it', () => {
    // A page more than whole blocks; single bytes at the borders of blocks and at both ends.
    const ram = new Uint8Array((5 << 16) + 4096);
    for (const at of [0, (1 << 16) - 1, 3 << 16, ram.length - 1]) ram[at] = 0x80;
    const before = ram.slice();
    const image = new PowerOnImage(ram);
    assert.strictEqual(image.size, 2 * (1 << 16) + 4096);
    ram.fill(0x55);
    image.restore(ram);
    assert.ok(Buffer.from(ram).equals(Buffer.from(before)));
  });

  it('is what a machine has after a reset', () => {
    const t = new TestMachine();
    const before = t.machine.memory.ram.slice();
    t.write(0x300000, new Uint8Array(0x20000).fill(0xa5));
    t.write(0, [1, 2, 3]);
    t.machine.reset();
    assert.ok(Buffer.from(t.machine.memory.ram).equals(Buffer.from(before)));
  });
});
