import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { expandZstd } from '../../../../debug-adapter/introspection/compression/zstd';
import { atOnce } from '../../../../debug-adapter/introspection/slices';
import { skip } from '../../../skip';
import { generated, TEXT, ZSTD } from './vectors';
import { COMPRESSED, FAR, WORDS } from './zstdVectors';

const expand = (data: Uint8Array, size: number): Uint8Array => atOnce(expandZstd(data, size));
const decoded = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, 'base64'));
/** What a frame that is not right may give: an error of ours, never another. */
const damaged = (data: Uint8Array, size: number, what: string): void => {
  try {
    assert.equal(expand(data, size).length, size);
  } catch (error) {
    assert.equal((error as Error).name, 'CompressionError', `${what}: ${error as Error}`);
  }
};

describe('Zstandard', () => {
  it('expands what zstd wrote', () => {
    assert.deepEqual(expand(ZSTD, TEXT.length), TEXT);
  });

  for (const [options, plain, base64] of COMPRESSED) {
    it(`expands what zstd ${options} wrote`, () => {
      assert.ok(Buffer.from(plain).equals(expand(decoded(base64), plain.length)));
    });
  }

  it('leaves what follows alone, as the length that Linux appends', () => {
    assert.deepEqual(expand(Uint8Array.from([...ZSTD, 8, 7, 0, 0]), TEXT.length), TEXT);
  });

  it('takes raw blocks, repeated bytes, several frames and frames to skip', () => {
    // 3.1.1: magic, descriptor (single segment, 1 byte of size), size, blocks: last << 0 | type << 1 | size << 3.
    const frame = [
      0x28,
      0xb5,
      0x2f,
      0xfd,
      0x20,
      5,
      ...[2 << 3, 0, 0, 0x61, 0x62],
      ...[1 | (1 << 1) | (3 << 3), 0, 0, 0x63],
    ];
    const skipped = [0x53, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
    const text = new TextDecoder().decode(expand(Uint8Array.from([...frame, ...skipped, ...frame]), 10));
    assert.equal(text, 'abcccabccc');
  });

  it('refuses what is cut off, leads outside, needs a dictionary, or gives another length', () => {
    const header = [0x28, 0xb5, 0x2f, 0xfd];
    const cases: [Uint8Array, number, RegExp][] = [
      [ZSTD.subarray(0, 100), TEXT.length, /a block of \d+ bytes at 0xa does not fit the data/],
      [ZSTD.subarray(0, 5), TEXT.length, /expected 1800 bytes, the data gives 0/],
      [ZSTD, TEXT.length + 1, /expected 1801 bytes, the data gives 1800/],
      [ZSTD, TEXT.length - 1, /more data than expected/],
      [Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]), 1, /expected the magic number of a frame, 0xfd2fb528, at 0x0/],
      [Uint8Array.from([...header, 0x21, 7, 1, 1, 0, 0]), 1, /the data needs a dictionary/],
      [Uint8Array.from([...header, 0x20, 1, 7, 0, 0, 0]), 1, /a block of a reserved type/],
      [Uint8Array.from([...header, 0x28, 1, 1, 0, 0, 0]), 1, /a reserved bit of a frame header is set/],
      // The largest block has 128 KiB, however many bytes its header promises.
      [
        Uint8Array.from([...header, 0x20, 1, 0xff, 0xff, 0xff, 0]),
        1,
        /a block of 2097151 bytes, expected 131072 at most/,
      ],
    ];
    for (const [data, size, message] of cases)
      assert.throws(() => expand(data, size), { name: 'CompressionError', message });
  });

  it('survives damage of any kind', () => {
    for (let i = 4; i < ZSTD.length; i++) {
      for (const flip of [0x55, 0x80, 0x01]) {
        const data = ZSTD.slice();
        data[i] ^= flip;
        damaged(data, TEXT.length, `byte ${i}`);
      }
    }
    const words = decoded(COMPRESSED[3][2]);
    for (let i = 4; i < words.length; i++) {
      const data = words.slice();
      data[i] ^= 0x11;
      damaged(data, WORDS.length, `byte ${i}`);
    }
  });

  it('yields often enough: no step gives more than a block', () => {
    let steps = 0;
    for (const work = expandZstd(decoded(COMPRESSED[4][2]), FAR.length); !work.next().done;) steps++;
    assert.ok(steps >= FAR.length / (128 << 10) - 1, `${steps} steps`);
  });

  it('expands what the zstd of this machine writes at every kind of level', function () {
    this.timeout(120_000);
    const zstd = (data: Uint8Array, ...options: string[]): Uint8Array =>
      new Uint8Array(execFileSync('zstd', ['-q', '-c', ...options], { input: data, maxBuffer: 1 << 27 }));
    try {
      zstd(TEXT);
    } catch {
      skip(this, 'no zstd: install the package');
    }
    const noise = generated(1 << 17, (x) => [x >>> 16]);
    const words = Uint8Array.from([...WORDS, ...generated(60000, (x) => (x >>> 28 ? [x >>> 27] : [...WORDS.subarray(x >>> 20, (x >>> 20) + 40)]))]); // prettier-ignore
    const levels = ['--fast=9', '-1', '-6', '-19', '--ultra -22 --long=31', '-3 --no-compress-literals'];
    for (const plain of [words, Uint8Array.from([...noise, ...words, ...noise]), Uint8Array.of(1)]) {
      for (const level of levels) {
        const back = expand(zstd(plain, ...level.split(' ')), plain.length);
        assert.ok(Buffer.from(plain).equals(back), `${plain.length} bytes, ${level}`);
      }
    }
  });
});
