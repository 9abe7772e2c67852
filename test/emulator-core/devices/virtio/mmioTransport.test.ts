// Expected values: VIRTIO 1.2, "Virtio Over MMIO", "MMIO Device Register Layout"; linux/virtio_mmio.h.
import assert from 'node:assert/strict';
import { VirtioConsole } from '../../../../emulator-core/devices/virtio/console';
import { VirtioRng } from '../../../../emulator-core/devices/virtio/rng';
import type { VirtioSlot } from '../../../../emulator-core/devices/virtio/attach';
import { rig } from '../rig';
import { DriverRing } from './ring';

const BASE = 0xd0000000;
const DATA = 0x200000;

function mmio(output: (byte: number) => void = () => {}) {
  const memory = new Uint8Array(16 << 20);
  const slots: VirtioSlot[] = [
    { bus: 'mmio', create: (host) => new VirtioConsole(0, host, output) },
    { bus: 'mmio', create: (host) => new VirtioRng(0, host) },
  ];
  const r = rig({ memory, virtio: slots });
  const read = (offset: number, size = 4, page = 0) => r.platform.bus.readMmio(BASE + 0x1000 * page + offset, size);
  const write = (offset: number, value: number, size = 4) => r.platform.bus.writeMmio(BASE + offset, value, size);
  const start = () => {
    for (const status of [0, 1, 3]) write(0x70, status);
    for (const word of [0, 1]) {
      write(0x14, word);
      write(0x24, word);
      write(0x20, read(0x10));
    }
    write(0x70, 11);
    const rings = [0, 1].map((queue) => {
      write(0x30, queue);
      const ring = new DriverRing(memory, 0x100000 + queue * 0x10000, read(0x34));
      write(0x38, ring.size);
      [ring.descriptors, ring.available, ring.used].forEach((gpa, i) => write(0x80 + 0x10 * i, gpa));
      write(0x44, 1);
      return ring;
    });
    write(0x70, 15);
    return rings;
  };
  return { memory, r, read, write, start };
}

describe('virtio over MMIO', () => {
  it('identifies itself', () => {
    const { read } = mmio();
    assert.deepEqual([read(0), read(4), read(8)], [0x74726976, 2, 3]);
    assert.equal(read(8, 4, 1), 4);
    assert.equal(read(0, 1), 0, 'registers are read as words');
    assert.deepEqual([read(0xb0), read(0xb4)], [0xffffffff, 0xffffffff], 'no shared memory');
  });

  it('serves a queue, with an interrupt that is acknowledged', () => {
    let text = '';
    const { memory, r, read, write, start } = mmio((byte) => (text += String.fromCharCode(byte)));
    const rings = start();
    assert.equal(read(0x70), 15);
    memory.set([0x68, 0x69], DATA);
    rings[1].add({ gpa: DATA, length: 2 });
    write(0x50, 1);
    assert.equal(text, 'hi');
    assert.equal(read(0x60), 3, 'a used buffer, and the size in the configuration');
    assert.equal(r.platform.irqLines.level(5), 1);
    write(0x64, 2);
    assert.deepEqual([read(0x60), r.platform.irqLines.level(5)], [1, 1]);
    write(0x64, 1);
    assert.deepEqual([read(0x60), r.platform.irqLines.level(5)], [0, 0]);
    assert.deepEqual(rings[1].completed(), [{ id: 0, length: 0 }]);
  });

  it('stops a queue with QueueReady 0, and all with status 0', () => {
    const { read, write, start } = mmio();
    start();
    write(0x30, 1);
    write(0x44, 0);
    assert.equal(read(0x44), 0);
    write(0x30, 0);
    assert.equal(read(0x44), 1);
    write(0x70, 0);
    assert.equal(read(0x44), 0);
  });

  it('restores what it saved', () => {
    const { r, write, start } = mmio();
    start();
    write(0x50, 1);
    const state = structuredClone(r.platform.save());
    r.platform.reset();
    r.platform.restore(state);
    assert.deepEqual(r.platform.save(), state);
  });

  it('has as many places as lines', () => {
    const slots = Array.from({ length: 4 }, (_, i): VirtioSlot => ({
      bus: 'mmio',
      create: (host) => new VirtioRng(i, host),
    }));
    assert.throws(() => rig({ virtio: slots }), /virtio-mmio: 3 devices at most/);
  });
});
