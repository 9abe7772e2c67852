import assert from 'node:assert/strict';
import { clear, isZero } from '../../emulator-core/zeros';

describe('zeros', () => {
  it('are told from anything else, wherever it is', () => {
    const words = new Int32Array(100);
    assert.ok(isZero(words, 0, 100));
    assert.ok(isZero(words, 50, 50));
    for (let i = 10; i < 60; i++) {
      words[i] = i % 2 ? 1 : -0x80000000;
      for (let from = 0; from < 20; from++) assert.equal(isZero(words, from, 59), i < from || i >= 59);
      words[i] = 0;
    }
  });

  it('are made of exactly the bytes that are named', () => {
    for (const length of [0, 1, 3, 4, 5, 4095, 4096, 4097, 20_000]) {
      for (let offset = 0; offset < 5; offset++) {
        for (let from = 0; from < 5; from++) {
          const all = new Uint8Array(length + 64).fill(0x5a);
          const expected = all.slice();
          expected.fill(0, offset + from, offset + from + length);
          clear(all.subarray(offset), from, from + length);
          assert.deepEqual(all, expected, `${length} bytes at ${offset} + ${from}`);
        }
      }
    }
    const bytes = new Uint8Array(10_000);
    bytes[9999] = 1;
    clear(bytes);
    assert.ok(bytes.every((byte) => byte === 0));
  });
});
