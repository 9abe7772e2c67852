/** VGA text mode as a display. */
import assert from 'node:assert';
import { VGA_TEXT_MEMORY, VgaText } from '../../../emulator-core/devices/vgaText';

const memory = new Uint8Array(0x100000);

function vga(): VgaText {
  memory.fill(0);
  return new VgaText(memory, { now: () => 0 });
}

describe('VGA text', () => {
  it("has the CGA's sixteen colours after the BIOS", () => {
    // IBM Color Display: 6 is brown, its green at half.
    const expected = [
      0x000000, 0x0000aa, 0x00aa00, 0x00aaaa, 0xaa0000, 0xaa00aa, 0xaa5500, 0xaaaaaa, 0x555555, 0x5555ff, 0x55ff55,
      0x55ffff, 0xff5555, 0xff55ff, 0xffff55, 0xffffff,
    ];
    assert.deepStrictEqual(vga().screen().palette, expected);
  });

  it('shows characters of code page 437 with their attributes', () => {
    const device = vga();
    memory.set([0x41, 0x1f, 0xb0, 0x87], VGA_TEXT_MEMORY);
    memory.set([0x5a, 0x07], VGA_TEXT_MEMORY + 24 * 160 + 79 * 2);
    const { text, attributes, columns, rows, blink } = device.screen();
    assert.deepStrictEqual([columns, rows, blink], [80, 25, true]);
    assert.strictEqual(text.length, 2000);
    assert.strictEqual(text.slice(0, 3), 'A░ ');
    assert.deepStrictEqual([...attributes.subarray(0, 2)], [0x1f, 0x87]);
    assert.strictEqual(text[1999], 'Z');
  });

  it('starts where the CRTC says and wraps in its 32 KiB', () => {
    const device = vga();
    // Start address: the last row of the window.
    const row = 0x4000 - 80;
    for (const [index, value] of [[0x0c, row >> 8], [0x0d, row & 0xff]]) {
      device.writePort(0x3d4, index);
      device.writePort(0x3d5, value);
    } // prettier-ignore
    memory[VGA_TEXT_MEMORY + row * 2] = 0x31;
    memory[VGA_TEXT_MEMORY] = 0x32;
    const { text } = device.screen();
    assert.strictEqual(text[0], '1');
    assert.strictEqual(text[80], '2');
  });

  it('takes colours from the DAC', () => {
    const device = vga();
    for (const [port, value] of [[0x3c8, 4], [0x3c9, 63], [0x3c9, 0], [0x3c9, 21]]) device.writePort(port, value); // prettier-ignore
    assert.strictEqual(device.screen().palette[4], 0xff0055);
  });
});
