// Images are laid out by hand after QEMU's docs/interop/qcow2.txt.
import assert from 'node:assert/strict';
import { deflateRawSync } from 'node:zlib';
import { ImageError, memoryImage, openImage } from '../../../emulator-core/disk/image';

const CLUSTER_BITS = 12;
const CLUSTER = 1 << CLUSTER_BITS;

interface Options {
  version?: number;
  incompatible?: bigint;
  size?: number;
  set?: (view: DataView, bytes: Uint8Array) => void;
}

/** Cluster 0: header, 1: L1, 2: L2, 3: data, 4: compressed. Of the disk: 0 data, 1 compressed, 2 zero, 3 nothing. */
function image({ version = 3, incompatible = 0n, size = 4 * CLUSTER, set }: Options = {}) {
  const bytes = new Uint8Array(5 * CLUSTER);
  const view = new DataView(bytes.buffer);
  bytes.set([0x51, 0x46, 0x49, 0xfb]);
  view.setUint32(4, version);
  view.setUint32(20, CLUSTER_BITS);
  view.setBigUint64(24, BigInt(size));
  view.setUint32(36, 1);
  view.setBigUint64(40, BigInt(CLUSTER));
  view.setBigUint64(72, incompatible);
  view.setUint32(100, 112);
  const copied = 1n << 63n;
  view.setBigUint64(CLUSTER, copied | BigInt(2 * CLUSTER));
  view.setBigUint64(2 * CLUSTER, copied | BigInt(3 * CLUSTER));
  const data = Uint8Array.from({ length: CLUSTER }, (_, i) => (i * 31) & 0xff);
  bytes.set(data, 3 * CLUSTER);
  const text = Uint8Array.from({ length: CLUSTER }, (_, i) => 'compressible '.charCodeAt(i % 13));
  const packed = deflateRawSync(text);
  const at = 4 * CLUSTER + 100; // compressed clusters need no alignment
  bytes.set(packed, at);
  const sectors = Math.floor((at + packed.length - 1) / 512) - Math.floor(at / 512);
  view.setBigUint64(2 * CLUSTER + 8, (1n << 62n) | (BigInt(sectors) << BigInt(62 - (CLUSTER_BITS - 8))) | BigInt(at));
  view.setBigUint64(2 * CLUSTER + 16, BigInt(3 * CLUSTER) | 1n);
  set?.(view, bytes);
  const expected = new Uint8Array(4 * CLUSTER);
  expected.set(data);
  expected.set(text, CLUSTER);
  return { bytes, expected };
}
const open = (options: Options = {}) => openImage(memoryImage('d.qcow2', image(options).bytes));

describe('qcow2', () => {
  it('reads data, compressed, zero and absent clusters', () => {
    for (const version of [2, 3]) {
      const { bytes, expected } = image({ version });
      const disk = openImage(memoryImage('d.qcow2', bytes));
      assert.equal(disk.format, 'qcow2');
      assert.equal(disk.size, 4 * CLUSTER);
      assert.deepEqual(disk.readBytes(0, 4 * CLUSTER), expected);
      assert.deepEqual(disk.readBytes(CLUSTER - 5, 300), expected.slice(CLUSTER - 5, CLUSTER + 295));
    }
  });

  it('reads an image that was not closed', () => {
    assert.equal(open({ incompatible: 1n }).size, 4 * CLUSTER);
  });

  it('says what it does not do, and where', () => {
    const refused: [Options, RegExp][] = [
      [{ version: 1 }, /'d\.qcow2', offset 0x4: version 1, expected 2 or 3/],
      [{ incompatible: 2n }, /offset 0x48: it is marked corrupt: .*qemu-img check/],
      [{ incompatible: 4n }, /another file/],
      [{ incompatible: 16n }, /extended L2/],
      [{ incompatible: 1n << 40n }, /unknown incompatible/],
      [{ incompatible: 8n, set: (view) => view.setUint8(104, 1) }, /compression type 1 \(1 is zstd\)/],
      [{ set: (view) => view.setUint32(32, 2) }, /encryption method 2/],
      [{ set: (view) => view.setUint32(20, 30) }, /clusters of 2\^30 bytes, expected 2\^9 to 2\^21/],
      [{ size: 2 ** 40 }, /offset 0x24: an L1 table of 1 entries; a disk of 1099511627776 bytes needs/],
      [{ set: (view) => view.setUint32(36, 0xffffffff) }, /an L1 table of 4294967295 entries/],
      [{ set: (view) => view.setBigUint64(40, 1n << 50n) }, /offset 0x4000000000000: 8 bytes expected/],
      [{ set: (view) => view.setBigUint64(24, 0n) }, /a disk of 0 bytes/],
      [
        {
          set: (view, bytes) => {
            view.setBigUint64(8, 0x200n);
            view.setUint32(16, 8);
            bytes.set(Buffer.from('base.img'), 0x200);
          },
        },
        /needs the backing file 'base\.img', which is not supported; make one image of both: qemu-img convert/,
      ],
    ];
    for (const [options, message] of refused) {
      assert.throws(() => open(options), (error: Error) => error instanceof ImageError && message.test(error.message), String(message)); // prettier-ignore
    }
    assert.throws(
      () => openImage(memoryImage('t', image().bytes.slice(0, 50))),
      /a qcow2 header has 112 bytes, the file 50/,
    );
  });

  it('says where a damaged image cannot be read', () => {
    const damaged = (entry: number, value: bigint) =>
      open({ set: (view) => view.setBigUint64(2 * CLUSTER + 8 * entry, value) });
    assert.throws(() => damaged(0, BigInt(100 * CLUSTER)).readBytes(0, 1), /offset 0x64000: 1 bytes expected/);
    assert.throws(
      () => damaged(0, BigInt(3 * CLUSTER + 512)).readBytes(0, 1),
      /offset 0x2000: a cluster at 0x3200, which/,
    );
    assert.throws(
      () => damaged(1, (1n << 62n) | BigInt(CLUSTER)).readBytes(CLUSTER, 1),
      /offset 0x1000: a compressed cl/,
    );
    assert.throws(() => damaged(1, (1n << 62n) | (1n << 40n)).readBytes(CLUSTER, 1), /behind the end of the file/);
  });

  it('survives random damage', () => {
    let seed = 4711;
    const random = (limit: number) => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.floor((seed / 2 ** 32) * limit);
    };
    for (let i = 0; i < 3000; i++) {
      const { bytes } = image();
      for (let n = 1 + random(6); n > 0; n--) {
        bytes[random(2) ? random(112) : CLUSTER * random(5) + random(40)] = random(256);
      }
      try {
        const disk = openImage(memoryImage('d.qcow2', bytes));
        disk.readBytes(0, Math.min(disk.size, 8 * CLUSTER));
      } catch (error) {
        assert.ok(error instanceof ImageError, String((error as Error).stack));
      }
    }
  });
});
