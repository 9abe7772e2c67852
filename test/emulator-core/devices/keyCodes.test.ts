/** Scan code set 2, as the PS/2 Technical Reference lists it. */
import assert from 'node:assert';
import { keyBytes } from '../../../emulator-core/devices/keyCodes';

describe('keys of the keyboard', () => {
  for (const [code, make, broken] of [
    ['KeyA', [0x1c], [0xf0, 0x1c]],
    ['F7', [0x83], [0xf0, 0x83]],
    ['ArrowUp', [0xe0, 0x75], [0xe0, 0xf0, 0x75]],
    ['NumpadEnter', [0xe0, 0x5a], [0xe0, 0xf0, 0x5a]],
  ] as const) {
    it(`${code} sends ${make.map((byte) => byte.toString(16)).join(' ')}`, () => {
      assert.deepStrictEqual([...keyBytes(code, true)!], make);
      assert.deepStrictEqual([...keyBytes(code, false)!], broken);
    });
  }

  it('does not know other names', () => {
    assert.strictEqual(keyBytes('constructor', true), undefined);
    assert.strictEqual(keyBytes('MediaPlayPause', true), undefined);
  });
});
