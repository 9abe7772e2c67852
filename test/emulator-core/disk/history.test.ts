import assert from 'node:assert/strict';
import { Disk } from '../../../emulator-core/disk/disk';
import { memoryImage, openImage } from '../../../emulator-core/disk/image';
import { TestMachine } from '../testMachine';

describe('disks of a machine', () => {
  function start() {
    const disk = new Disk(openImage(memoryImage('d', new Uint8Array(8192).fill(1))), 'snapshot');
    const t = new TestMachine({ disks: [disk] }).enter('64');
    t.run(0x100000, 'eb fe', {}, 0);
    return { t, disk };
  }

  it('go back in time with it', () => {
    const { t, disk } = start();
    const { machine } = t;
    machine.record();
    machine.run(1000);
    disk.writeBytes(0, Uint8Array.of(2));
    machine.run(1000);
    machine.history.take();
    disk.writeBytes(0, Uint8Array.of(3));
    machine.run(1000);
    assert.equal(disk.readBytes(0, 1)[0], 3);
    machine.history.restoreBefore(2500);
    assert.equal(disk.readBytes(0, 1)[0], 2);
    machine.history.restoreBefore(0);
    assert.equal(disk.readBytes(0, 1)[0], 1);
  });

  it("keep what was written over the guest's own reset, but not over the debugger's", () => {
    const { t, disk } = start();
    disk.writeBytes(0, Uint8Array.of(2));
    t.run(0x100000, 'b0 fe e6 64', {}, 100); // mov al, 0xfe; out 0x64, al: the keyboard controller's reset
    assert.ok(t.machine.core.retired < 100, 'counted anew');
    assert.equal(disk.readBytes(0, 1)[0], 2);
    t.machine.reset();
    assert.equal(disk.readBytes(0, 1)[0], 1);
  });
});
