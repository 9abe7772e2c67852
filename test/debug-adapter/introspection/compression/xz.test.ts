import assert from 'node:assert/strict';
import { expandXz } from '../../../../debug-adapter/introspection/compression/xz';
import { atOnce } from '../../../../debug-adapter/introspection/slices';
import { TEXT, XZ, XZ_CODE, XZ_RANDOM } from './vectors';

describe('XZ', () => {
  it('expands what xz wrote', () => {
    assert.deepEqual(atOnce(expandXz(XZ, TEXT.length)), TEXT);
  });

  it('leaves what follows alone, as the length that Linux appends', () => {
    assert.deepEqual(atOnce(expandXz(Uint8Array.from([...XZ, 8, 7, 0, 0]), TEXT.length)), TEXT);
  });

  it('undoes the x86 filter, also where opcodes stand close together', () => {
    assert.deepEqual(atOnce(expandXz(XZ_CODE.compressed, XZ_CODE.plain.length)), XZ_CODE.plain);
  });

  it('takes chunks of data that did not compress', () => {
    assert.deepEqual(atOnce(expandXz(XZ_RANDOM.compressed, XZ_RANDOM.plain.length)), XZ_RANDOM.plain);
  });

  it('refuses what is cut off, is of another format, or gives another length', () => {
    const cases: [Uint8Array, number, RegExp][] = [
      [XZ.subarray(0, 100), TEXT.length, /does not fit/],
      [XZ.subarray(0, 8), TEXT.length, /expected the header of a stream/],
      [XZ, TEXT.length + 1, /expected 1801 bytes, the data gives 1800/],
      [XZ, TEXT.length - 1, /does not fit/],
    ];
    for (const [data, size, message] of cases)
      assert.throws(() => atOnce(expandXz(data, size)), { name: 'CompressionError', message });
    const delta = XZ.slice();
    delta[14] = 3; // filter 3 is Delta
    assert.throws(() => atOnce(expandXz(delta, TEXT.length)), /filter 0x3, expected x86 and LZMA2/);
  });

  it('survives damage of any kind', () => {
    for (let i = 12; i < XZ.length; i++) {
      const damaged = XZ.slice();
      damaged[i] ^= 0x55;
      try {
        assert.equal(atOnce(expandXz(damaged, TEXT.length)).length, TEXT.length);
      } catch (error) {
        assert.equal((error as Error).name, 'CompressionError', `byte ${i}: ${error as Error}`);
      }
    }
  });
});
