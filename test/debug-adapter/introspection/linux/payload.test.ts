import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import { bzImagePayload, expandPayload } from '../../../../debug-adapter/introspection/linux/payload';
import { LZ4, TEXT, XZ, ZSTD } from '../compression/vectors';
import { bzImage } from './images';

const sized = (data: Uint8Array, size: number): Uint8Array =>
  Uint8Array.from([...data, size & 0xff, (size >> 8) & 0xff, (size >> 16) & 0xff, size >>> 24]);

describe('the payload of a bzImage', () => {
  it('is found by the boot header', () => {
    const payload = sized(LZ4, TEXT.length);
    assert.deepEqual(bzImagePayload(bzImage(payload)), payload);
  });

  it('is absent in other files, before boot protocol 2.08, and where it does not fit', () => {
    const payload = sized(LZ4, TEXT.length);
    assert.equal(bzImagePayload(new Uint8Array(2048)), undefined);
    assert.equal(bzImagePayload(new Uint8Array(3)), undefined);
    assert.equal(bzImagePayload(bzImage(payload, { version: 0x207 })), undefined);
    assert.equal(bzImagePayload(bzImage(payload, { length: payload.length + 1 })), undefined);
    assert.equal(bzImagePayload(bzImage(payload, { length: 0 })), undefined);
  });

  it('is expanded from LZ4, XZ, Zstandard, gzip, and left as it is when it is ELF', async () => {
    assert.deepEqual(await expandPayload(sized(LZ4, TEXT.length)), TEXT);
    assert.deepEqual(await expandPayload(sized(XZ, TEXT.length)), TEXT);
    assert.deepEqual(await expandPayload(sized(ZSTD, TEXT.length)), TEXT);
    // gzip ends with the length by itself.
    assert.deepEqual(await expandPayload(new Uint8Array(gzipSync(TEXT))), TEXT);
    const elf = Uint8Array.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]);
    assert.equal(await expandPayload(elf), elf);
  });

  it('says what it can not expand', async () => {
    await assert.rejects(expandPayload(sized(LZ4, 0)), /LZ4: its last word gives a kernel of 0 bytes, expected 1 to/);
    await assert.rejects(expandPayload(sized(LZ4, 0xffffffff)), /a kernel of 4294967295 bytes/);
    await assert.rejects(
      expandPayload(sized(Uint8Array.from([0x42, 0x5a, 0x68, 0x39]), 9)),
      /bzip2: this version does not read/,
    );
    await assert.rejects(
      expandPayload(sized(Uint8Array.from([1, 2, 3, 4]), 9)),
      /begins with 01 02 03 04, expected the magic number of LZ4, gzip, XZ/,
    );
    const broken = new Uint8Array(gzipSync(TEXT));
    broken[20] ^= 0xff;
    await assert.rejects(expandPayload(broken), { name: 'CompressionError' });
  });
});
