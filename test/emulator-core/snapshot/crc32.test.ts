import assert from 'node:assert/strict';
import { crc32 } from '../../../emulator-core/snapshot/crc32';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('CRC-32', () => {
  // "123456789" is the check value of every catalogue of CRCs; the others are what `gzip -lv` and `cksum -a crc32b` print.
  it('has the known values', () => {
    assert.equal(crc32(bytes('')), 0);
    assert.equal(crc32(bytes('123456789')), 0xcbf43926);
    assert.equal(crc32(bytes('The quick brown fox jumps over the lazy dog')), 0x414fa339);
    assert.equal(crc32(new Uint8Array(32)), 0x190a55ad);
    assert.equal(crc32(new Uint8Array(32).fill(0xff)), 0xff6cab0b);
  });

  it('is the same wherever the bytes lie', () => {
    for (let offset = 0; offset < 8; offset++) {
      const place = new Uint8Array(64).fill(0xa5);
      place.set(bytes('The quick brown fox jumps over the lazy dog'), offset);
      assert.equal(crc32(place.subarray(offset, offset + 43)), 0x414fa339);
    }
  });

  it('goes on from part to part', () => {
    const text = bytes('The quick brown fox jumps over the lazy dog');
    for (let cut = 0; cut <= text.length; cut++) {
      assert.equal(crc32(text.subarray(cut), crc32(text.subarray(0, cut))), 0x414fa339);
    }
  });
});
