import assert from 'node:assert/strict';
import { Disk, type DiskAccess } from '../../../emulator-core/disk/disk';
import { ImageError, memoryImage, openImage } from '../../../emulator-core/disk/image';

const SIZE = 3 * 4096 * 512 + 1000; // more than one table of blocks, and a last block that is cut

function make(access: DiskAccess = 'snapshot', size = SIZE) {
  const image = Uint8Array.from({ length: size }, (_, i) => (i * 7 + (i >> 12)) & 0xff);
  const original = image.slice();
  const disk = new Disk(openImage(memoryImage('d.img', image)), access);
  return { disk, image, original };
}

describe('disk', () => {
  it('keeps writes to itself: what is read is the image with all that was written', () => {
    const { disk, image, original } = make();
    const model = original.slice();
    let seed = 99;
    const random = (limit: number) => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.floor((seed / 2 ** 32) * limit);
    };
    for (let i = 0; i < 600; i++) {
      const offset = random(SIZE);
      const length = random(Math.min(20000, SIZE - offset) + 1);
      if (i % 3 === 0) {
        assert.ok(disk.zero(offset, length));
        model.fill(0, offset, offset + length);
      } else {
        const data = Uint8Array.from({ length: Math.min(length, 9000) }, () => random(256));
        assert.ok(disk.writeBytes(offset, data));
        model.set(data, offset);
      }
      const from = random(SIZE);
      const count = random(Math.min(30000, SIZE - from) + 1);
      assert.deepEqual(disk.readBytes(from, count), model.slice(from, from + count));
    }
    assert.deepEqual(disk.readBytes(0, SIZE), model);
    assert.deepEqual(image, original, 'the image is as it was');
    const stored = image.slice();
    for (const { offset, data } of disk.written()) stored.set(data, offset);
    assert.deepEqual(stored, model);
  });

  it('goes back to a saved state, which later writes do not change', () => {
    const { disk } = make();
    const states = [];
    for (let i = 0; i < 5; i++) {
      states.push(disk.save());
      disk.writeBytes(100, Uint8Array.of(i + 1));
      disk.writeBytes(4096 * 600 + i, Uint8Array.of(0xee));
    }
    const [before] = make().disk.readBytes(100, 1);
    for (const i of [3, 0, 4, 1]) {
      disk.restore(states[i]);
      assert.equal(disk.readBytes(100, 1)[0], i === 0 ? before : i, `state ${i}`);
      disk.writeBytes(100, Uint8Array.of(0x55));
    }
    const copy = structuredClone(states[2]);
    disk.restore(copy);
    assert.equal(disk.readBytes(100, 1)[0], 2, 'a state is plain data');
  });

  it('shares blocks with its saved states', () => {
    const { disk } = make();
    disk.writeBytes(0, new Uint8Array(4096 * 100).fill(1));
    const [first, second] = [disk.save(), disk.save()];
    disk.writeBytes(0, Uint8Array.of(9));
    const third = disk.save();
    assert.equal(first[0], second[0]);
    assert.notEqual(first[0]![0], third[0]![0]);
    assert.equal(first[0]![1], third[0]![1]);
  });

  it('takes no memory for whole blocks of zeros', () => {
    const { disk } = make();
    disk.zero(0, 4096 * 512);
    assert.equal(new Set(disk.save()[0]).size, 1);
  });

  it('refuses writes when it is read-only', () => {
    const { disk, original } = make('readonly');
    assert.equal(disk.writeBytes(0, Uint8Array.of(1)), false);
    assert.equal(disk.zero(0, 4096), false);
    assert.deepEqual(disk.readBytes(0, 4096), original.slice(0, 4096));
  });

  it('forgets at a power cycle what it would forget at the end', () => {
    for (const access of ['snapshot', 'write'] as const) {
      const { disk, original } = make(access);
      disk.writeBytes(0, Uint8Array.of(original[0] ^ 0xff));
      disk.reset();
      assert.equal(disk.readBytes(0, 1)[0] === original[0], access === 'snapshot');
    }
  });

  it('says where an image cannot be read', () => {
    const broken = {
      name: 'cut.img',
      size: 8192,
      read: (offset: number, length: number) => (offset < 4096 ? new Uint8Array(length) : assert.fail('EIO')),
    };
    const contents = openImage(broken);
    assert.throws(() => contents.readBytes(4096, 512), {
      name: 'ImageError',
      message: "'cut.img', offset 0x1000: can't be read: EIO",
    });
    assert.throws(
      () => contents.readBytes(8000, 512),
      /'cut\.img', offset 0x1f40: 512 bytes expected, .* ends after 192/,
    );
    assert.throws(() => openImage(memoryImage('e', new Uint8Array(0))), ImageError);
  });
});
