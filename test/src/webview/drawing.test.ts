/** Colours of VGA text cells. */
import assert from 'node:assert';
import { cellColours } from '../../../src/webview/drawing';

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
