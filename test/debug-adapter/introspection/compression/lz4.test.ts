import assert from 'node:assert/strict';
import { expandLz4 } from '../../../../debug-adapter/introspection/compression/lz4';
import { atOnce } from '../../../../debug-adapter/introspection/slices';
import { LZ4, TEXT } from './vectors';

describe('LZ4', () => {
  it('expands what lz4 -l wrote', () => {
    assert.deepEqual(atOnce(expandLz4(LZ4, TEXT.length)), TEXT);
  });

  it('leaves what follows alone, as the length that Linux appends', () => {
    assert.deepEqual(atOnce(expandLz4(Uint8Array.from([...LZ4, 8, 7, 0, 0]), TEXT.length)), TEXT);
  });

  it('copies an overlapping match byte by byte', () => {
    // One literal 'a', then 20 bytes from distance 1; the block ends with the five literals that the format asks for.
    const block = [0x1f, 0x61, 1, 0, 1, 0x50, ...Array(5).fill(0x62)];
    const frame = Uint8Array.from([0x02, 0x21, 0x4c, 0x18, block.length, 0, 0, 0, ...block]);
    assert.equal(new TextDecoder().decode(atOnce(expandLz4(frame, 26))), 'a'.repeat(21) + 'bbbbb');
  });

  it('repeats a period of any length, as often as it is asked for', () => {
    for (const period of [1, 2, 3, 7, 13]) {
      for (const extra of [0, 1, 13, 14, 200, 100_000, 300_000]) {
        const count = 4 + 15 + extra;
        const literals = Array.from({ length: period }, (_, i) => 0x61 + i);
        const length = [...Array<number>(Math.floor(extra / 255)).fill(255), extra % 255];
        const block = [(period << 4) | 15, ...literals, period, 0, ...length, 0x50, ...Array<number>(5).fill(0x7a)];
        const size = [block.length & 255, (block.length >> 8) & 255, block.length >> 16, 0];
        const frame = Uint8Array.from([0x02, 0x21, 0x4c, 0x18, ...size, ...block]);
        const expected = Uint8Array.from({ length: period + count + 5 }, (_, i) =>
          i < period + count ? 0x61 + (i % period) : 0x7a,
        );
        assert.deepEqual(atOnce(expandLz4(frame, expected.length)), expected, `${count} bytes of period ${period}`);
      }
    }
  });

  it('refuses what is cut off, leads outside, or gives more than expected', () => {
    const cases: [Uint8Array, number, RegExp][] = [
      [LZ4.subarray(0, 100), TEXT.length, /a block of 221 bytes at 0x8 does not fit/],
      [LZ4.subarray(0, 6), TEXT.length, /expected the magic number of a legacy frame/],
      [LZ4, TEXT.length + 1, /expected another block/],
      [LZ4, TEXT.length - 1, /fit|more data/],
      [
        Uint8Array.from([0x02, 0x21, 0x4c, 0x18, 5, 0, 0, 0, 0x10, 0x61, 2, 0, 0]),
        9,
        /an offset of 2 .* before the block/,
      ],
    ];
    for (const [data, size, message] of cases)
      assert.throws(() => atOnce(expandLz4(data, size)), { name: 'CompressionError', message });
  });
});
