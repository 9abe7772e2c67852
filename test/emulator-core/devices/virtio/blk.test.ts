// Expected values: VIRTIO 1.2, "Block Device"; linux/virtio_blk.h.
import assert from 'node:assert/strict';
import { VirtioBlk } from '../../../../emulator-core/devices/virtio/blk';
import { Disk, type DiskAccess } from '../../../../emulator-core/disk/disk';
import { memoryImage, openImage, type ImageFile } from '../../../../emulator-core/disk/image';
import { PciDriver } from './pciDriver';

const HEADER = 0x200000;
const STATUS = 0x200010;
const DATA = 0x201000;
const SECTORS = 64;

function blk(access: DiskAccess = 'snapshot', size = SECTORS * 512, file?: ImageFile) {
  const image = Uint8Array.from({ length: size }, (_, i) => (i >> 9) + 1);
  const disk = new Disk(openImage(file ?? memoryImage('d.img', image)), access);
  const notes: string[] = [];
  const options = { index: 0, disk, note: (text: string) => notes.push(text) };
  const driver = new PciDriver([{ bus: 'pci', create: (host) => new VirtioBlk(options, host) }]).start();
  const { memory } = driver;
  const view = new DataView(memory.buffer);
  /** One request; its status and the used length. */
  const request = (type: number, sector: number | bigint, data: { length: number; write?: boolean }[] = []) => {
    view.setUint32(HEADER, type, true);
    view.setBigUint64(HEADER + 8, BigInt(sector), true);
    memory[STATUS] = 0xee;
    let gpa = DATA;
    const buffers = data.map(({ length, write }) => ({ gpa: (gpa += length) - length, length, write }));
    driver.rings[0].add({ gpa: HEADER, length: 16 }, ...buffers, { gpa: STATUS, length: 1, write: true });
    driver.kick(0);
    const [done] = driver.rings[0].completed();
    return { status: memory[STATUS], length: done?.length };
  };
  const range = (at: number, sector: number | bigint, count: number) => {
    view.setBigUint64(DATA + 16 * at, BigInt(sector), true);
    view.setUint32(DATA + 16 * at + 8, count, true);
    view.setUint32(DATA + 16 * at + 12, 0, true);
  };
  const input = (length: number) => ({ length, write: true });
  return { driver, memory, disk, image, notes, request, range, input };
}

describe('virtio-blk', () => {
  it('describes the disk in its configuration', () => {
    const { driver } = blk();
    assert.equal(driver.config(0, 4), 0x10421af4);
    assert.equal(driver.config(0x0a, 2), 0x0100);
    const word = (offset: number) => driver.read(4, offset, 4);
    assert.deepEqual([word(0), word(4)], [SECTORS, 0]);
    assert.equal(word(20), 512);
    assert.ok(word(12) + 2 <= driver.rings[0].size, 'seg_max and two more fit into the queue');
    const has = (bit: number, features = driver.features()) => (features >> BigInt(bit)) & 1n;
    assert.deepEqual(
      [1, 2, 5, 6, 9, 13, 14].map((bit) => has(bit)),
      [1n, 1n, 0n, 1n, 1n, 1n, 1n],
    );
    const readonly = blk('readonly').driver.features();
    assert.deepEqual(
      [5, 13, 14].map((bit) => has(bit, readonly)),
      [1n, 0n, 0n],
    );
  });

  it('reads and writes sectors', () => {
    const { memory, disk, request, input } = blk();
    assert.deepEqual(request(0, 3, [input(512), input(1024)]), { status: 0, length: 1537 });
    assert.deepEqual([memory[DATA], memory[DATA + 512], memory[DATA + 1535]], [4, 5, 6]);
    memory.fill(0xab, DATA, DATA + 1024);
    assert.deepEqual(request(1, 10, [{ length: 1000 }, { length: 24 }]), { status: 0, length: 1 });
    assert.deepEqual([...disk.readBytes(10 * 512 - 1, 1), ...disk.readBytes(12 * 512 - 1, 2)], [10, 0xab, 13]);
    memory.fill(0, DATA, DATA + 512);
    request(0, 11, [input(512)]);
    assert.equal(memory[DATA + 511], 0xab);
  });

  it('flushes, and gives its ID', () => {
    const { memory, request, input } = blk();
    assert.equal(request(4, 0).status, 0);
    assert.deepEqual(request(8, 0, [input(20)]), { status: 0, length: 21 });
    assert.equal(Buffer.from(memory.subarray(DATA, DATA + 20)).toString(), 'disk0'.padEnd(20, '\0'));
  });

  it('discards and writes zeros', () => {
    const { disk, request, range } = blk();
    range(0, 8, 8);
    range(1, 20, 1);
    assert.equal(request(13, 0, [{ length: 32 }]).status, 0);
    assert.deepEqual(
      [7, 8, 15, 16, 19, 20, 21].map((s) => disk.readBytes(s * 512, 1)[0]),
      [8, 0, 0, 17, 20, 0, 22],
    );
    range(0, 60, 5);
    assert.equal(request(11, 0, [{ length: 16 }]).status, 1, 'beyond the end');
    assert.equal(request(11, 0, [{ length: 15 }]).status, 1);
    assert.equal(request(11, 0, []).status, 1);
    range(0, 0, 0xffffffff);
    assert.equal(request(13, 0, [{ length: 16 }]).status, 1);
    range(0, 0xffffffffffffffffn, 1);
    assert.equal(request(13, 0, [{ length: 16 }]).status, 1);
  });

  it('fails what does not lie on the disk, and types that it does not know', () => {
    const { request, input } = blk();
    assert.equal(request(0, SECTORS, [input(512)]).status, 1);
    assert.equal(request(0, SECTORS - 1, [input(1024)]).status, 1);
    assert.equal(request(0, 0xffffffffffffffffn, [input(512)]).status, 1);
    assert.equal(request(1, 1n << 55n, [{ length: 512 }]).status, 1);
    assert.equal(request(0, 0, [input(100)]).status, 1);
    assert.equal(request(7, 0).status, 2);
    assert.deepEqual(request(0, 0, []), { status: 0, length: 1 });
  });

  it('fails writes to a read-only disk', () => {
    const { request, disk } = blk('readonly');
    assert.equal(request(1, 0, [{ length: 512 }]).status, 1);
    assert.equal(disk.readBytes(0, 1)[0], 1);
  });

  it('reads zeros behind an image that ends inside of a sector', () => {
    const { memory, request, input, driver } = blk('snapshot', 1000);
    assert.equal(driver.read(4, 0, 4), 2);
    memory.fill(0xff, DATA, DATA + 1024);
    assert.equal(request(0, 0, [input(1024)]).status, 0);
    assert.deepEqual([memory[DATA + 999], memory[DATA + 1000], memory[DATA + 1023]], [2, 0, 0]);
    memory.fill(0x77, DATA, DATA + 512);
    assert.equal(request(1, 1, [{ length: 512 }]).status, 0);
  });

  it('fails reads of an image that has become unreadable, and says so', () => {
    const read = (offset: number) => (offset ? assert.fail('EIO') : new Uint8Array(4));
    const file = { name: 'gone.img', size: 1 << 20, read };
    const { request, input, notes } = blk('snapshot', 0, file);
    assert.equal(request(0, 8, [input(512)]).status, 1);
    assert.deepEqual(notes, ["disk0: 'gone.img', offset 0x1000: can't be read: EIO"]);
  });

  it('needs a reset after a request without header or status', () => {
    for (const buffers of [
      [
        { gpa: HEADER, length: 15 },
        { gpa: STATUS, length: 1, write: true },
      ],
      [{ gpa: HEADER, length: 16 }],
    ]) {
      const { driver } = blk();
      driver.rings[0].add(...buffers);
      driver.kick(0);
      assert.equal(driver.status & 0x40, 0x40);
      assert.match(driver.described('disk0').get('needs reset')!, /expected a header of 16 and a status byte/);
    }
  });

  it('counts requests, and restores what it saved', () => {
    const { driver, request, input } = blk();
    request(0, 0, [input(512)]);
    request(0, SECTORS, [input(512)]);
    const state = structuredClone(driver.r.platform.save());
    assert.equal(
      driver.described('disk0').get('requests'),
      'in 2, out 0, flush 0, getId 0, discard 0, writeZeroes 0 1 failed',
    );
    driver.r.platform.reset();
    driver.r.platform.restore(state);
    assert.deepEqual(driver.r.platform.save(), state);
  });
});
