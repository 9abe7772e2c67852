import assert from 'node:assert/strict';
import { Bus } from '../../../emulator-core/devices/bus';

function recorder() {
  const log: string[] = [];
  return {
    log,
    readPort: (port: number, size: number) => (log.push(`r${size} ${port.toString(16)}`), port & 0xff),
    writePort: (port: number, value: number, size: number) => {
      log.push(`w${size} ${port.toString(16)} ${value.toString(16)}`);
    },
    readMmio: (gpa: number, size: number) => (log.push(`m${size} ${gpa.toString(16)}`), -1),
    writeMmio: (gpa: number, value: number) => void log.push(`mw ${gpa.toString(16)} ${value.toString(16)}`),
  };
}

describe('Bus', () => {
  it('reads all ones where nobody answers', () => {
    const bus = new Bus();
    assert.deepEqual(
      [1, 2, 4].map((size) => bus.readPort(0x2f8, size)),
      [0xff, 0xffff, 0xffffffff],
    );
    assert.deepEqual(
      [1, 2, 4].map((size) => bus.readMmio(0xd0000000, size)),
      [0xff, 0xffff, 0xffffffff],
    );
    bus.writePort(0xffff, 0x12345678, 4); // wraps to port 0 as the bus does; must not throw
  });

  it('splits accesses that are wider than the device or misaligned', () => {
    const bus = new Bus();
    const byte = recorder();
    const wide = recorder();
    bus.addPorts(0x40, 0x43, byte);
    bus.addPorts(0xcfc, 0xcff, wide, { width: 4 });
    assert.equal(bus.readPort(0x40, 4), 0x43424140);
    bus.writePort(0x42, 0xbeef, 2);
    assert.deepEqual(byte.log, ['r1 40', 'r1 41', 'r1 42', 'r1 43', 'w1 42 ef', 'w1 43 be']);
    bus.writePort(0xcfc, 0xdeadbeef, 4);
    assert.equal(bus.readPort(0xcfe, 4), 0xfffffffe);
    assert.deepEqual(wide.log, ['w4 cfc deadbeef', 'r1 cfe', 'r1 cff']);
  });

  it('throws on overlaps and bad ranges', () => {
    const bus = new Bus();
    bus.addPorts(0x60, 0x64, recorder());
    assert.throws(() => bus.addPorts(0x64, 0x65, recorder()), /ports 64h-65h overlap/);
    assert.throws(() => bus.addPorts(0xffff, 0x10000, recorder()), /expected within/);
    bus.removePorts(0x60, 0x64);
    bus.addPorts(0x64, 0x65, recorder());
    bus.addMmio(0x1000, 0x1000, recorder());
    assert.throws(() => bus.addMmio(0x1fff, 2, recorder()), /overlaps/);
    assert.throws(() => bus.addMmio(0x5000, 0, recorder()), /length/);
  });

  it('finds memory-mapped ranges at their edges', () => {
    const bus = new Bus();
    const device = recorder();
    bus.addMmio(0xfee00000, 0x1000, device);
    bus.addMmio(0xfec00000, 0x1000, device);
    assert.equal(bus.findMmio(0xfebfffff), undefined);
    assert.equal(bus.findMmio(0xfec00fff)?.base, 0xfec00000);
    assert.equal(bus.findMmio(0xfec01000), undefined);
    assert.equal(bus.findMmio(0xfee00000)?.base, 0xfee00000);
    assert.deepEqual(
      bus.mmioRanges().map((range) => range.base),
      [0xfec00000, 0xfee00000],
    );
    assert.equal(bus.readMmio(0xfee00020, 2), 0xffff);
    bus.writeMmio(0xfee000b0, -1, 4);
    assert.deepEqual(device.log, ['m2 fee00020', 'mw fee000b0 ffffffff']);
  });
});
