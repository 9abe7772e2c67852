/** Bytes of WebAssembly. Numbers from the specification of LEB128 (DWARF Debugging Information Format 5, Appendix C, "Variable Length Data"). */
import assert from 'node:assert/strict';
import { Bytes, sleb, slebNumber, uleb } from '../../../emulator-core/translate/wasmBytes';

function bytesOf(put: (out: Bytes) => void): number[] {
  const out = new Bytes();
  put(out);
  return [...out.view];
}

const UNSIGNED: [number, number[]][] = [
  [2, [2]],
  [127, [127]],
  [128, [0x80, 1]],
  [129, [0x81, 1]],
  [12857, [57 + 0x80, 100]],
  [0xffffffff, [0xff, 0xff, 0xff, 0xff, 0x0f]],
];
const SIGNED: [number, number[]][] = [
  [2, [2]],
  [-2, [0x7e]],
  [127, [127 + 0x80, 0]],
  [-127, [1 + 0x80, 0x7f]],
  [128, [0x80, 1]],
  [-128, [0x80, 0x7f]],
  [129, [1 + 0x80, 1]],
  [-129, [0x7f + 0x80, 0x7e]],
];

describe('bytes of WebAssembly', () => {
  it('have numbers in LEB128', () => {
    for (const [value, bytes] of UNSIGNED)
      assert.deepEqual(
        bytesOf((out) => uleb(out, value)),
        bytes,
        `${value}`,
      );
    for (const [value, bytes] of SIGNED) {
      assert.deepEqual(
        bytesOf((out) => sleb(out, BigInt(value))),
        bytes,
        `${value}`,
      );
      assert.deepEqual(
        bytesOf((out) => slebNumber(out, value)),
        bytes,
        `${value}`,
      );
    }
  });

  it('grow, and are taken back', () => {
    const out = new Bytes();
    const all = Array.from({ length: 1000 }, (_, i) => i & 0xff);
    for (const byte of all) out.push(byte);
    out.truncate(10);
    out.append(Uint8Array.from(all));
    out.push(1, 2, 3, 4);
    assert.deepEqual([...out.view], [...all.slice(0, 10), ...all, 1, 2, 3, 4]);
    assert.equal(out.length, 1014);
  });
});
