/** Colours of VGA text cells. */
import assert from 'node:assert';
import { cellColours, changedCells, fit, type TextPicture } from '../../../src/webview/drawing';

const palette = Array.from({ length: 16 }, (_, i) => i);

describe('text cells', () => {
  it('have a foreground and a background', () => {
    const colours = cellColours(0x1f, palette, true, true);
    assert.deepStrictEqual(colours, { foreground: '#00000f', background: '#000001', hidden: false });
  });
  it('blink by bit 7, or have sixteen backgrounds', () => {
    assert.deepStrictEqual(cellColours(0x9f, palette, true, false).hidden, true);
    assert.deepStrictEqual(cellColours(0x9f, palette, true, true).hidden, false);
    assert.deepStrictEqual(cellColours(0x9f, palette, false, false), {
      foreground: '#00000f',
      background: '#000009',
      hidden: false,
    });
  });
});

describe('what to draw anew', () => {
  const shown = (more: Partial<TextPicture> = {}): TextPicture => ({
    text: ' '.repeat(20),
    attributes: new Uint8Array(20).fill(7),
    columns: 10,
    rows: 2,
    palette,
    blink: true,
    cursor: 3,
    phase: true,
    ...more,
  });
  it('is everything at first and with another palette or size', () => {
    assert.strictEqual(changedCells(undefined, shown()).length, 20);
    assert.strictEqual(changedCells(shown(), shown({ palette: [1, ...palette.slice(1)] })).length, 20);
    assert.strictEqual(changedCells(shown({ columns: 20, rows: 1 }), shown()).length, 20);
  });
  it('is a cell that changed, and where the cursor was and is', () => {
    assert.deepStrictEqual(changedCells(shown(), shown()), []);
    assert.deepStrictEqual(changedCells(shown(), shown({ text: ' '.repeat(19) + 'x' })), [19]);
    assert.deepStrictEqual(changedCells(shown(), shown({ cursor: 12 })), [3, 12]);
    assert.deepStrictEqual(changedCells(shown(), shown({ cursor: -1 })), [3]);
  });
  it('is the cursor and what blinks when the phase changes, and nothing else', () => {
    const attributes = new Uint8Array(20).fill(7);
    attributes[15] = 0x87;
    assert.deepStrictEqual(changedCells(shown({ attributes }), shown({ attributes, phase: false })), [3, 15]);
    const off = { attributes, cursor: -1, blink: false };
    assert.deepStrictEqual(changedCells(shown(off), shown({ ...off, phase: false })), []);
  });
});

describe('the size of the picture', () => {
  it('is a whole multiple where there is room, and else what fits', () => {
    assert.strictEqual(fit(1024, 768, 2100, 1600), 2);
    assert.strictEqual(fit(1024, 768, 2100, 1500), 1);
    assert.strictEqual(fit(1024, 768, 512, 768), 0.5);
    assert.ok(fit(1024, 768, 0, 0) > 0);
  });
});
