/** How text cells look, and which of them to draw anew. VGA text attributes: bits 3-0 foreground, 6-4 background, 7 blink or the background's bit 3. */
import type { ScreenUpdate } from '../wire';

export type TextUpdate = Extract<ScreenUpdate, { kind: 'text' }>;

export interface CellColours {
  foreground: string;
  background: string;
  /** The character blinks, and is not seen now. */
  hidden: boolean;
}

const colour = (rgb: number): string => `#${rgb.toString(16).padStart(6, '0')}`;

/**
 * @param palette colours 0-15 as 0xRRGGBB
 * @param blink whether attribute bit 7 blinks
 * @param phase whether what blinks is seen now
 */
export function cellColours(attribute: number, palette: number[], blink: boolean, phase: boolean): CellColours {
  const background = (attribute >> 4) & (blink ? 7 : 15);
  const hidden = blink && (attribute & 0x80) !== 0 && !phase;
  return { foreground: colour(palette[attribute & 15]), background: colour(palette[background]), hidden };
}

/** Bytes of base64 text. */
export function pixelBytes(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** A text screen and whether what blinks, the cursor among it, is seen. */
export interface TextPicture {
  text: string;
  attributes: Uint8Array;
  columns: number;
  rows: number;
  palette: number[];
  blink: boolean;
  /** Index of the cursor's cell, -1 for none. */
  cursor: number;
  phase: boolean;
}

export function textPicture(update: TextUpdate, phase: boolean): TextPicture {
  const { text, columns, rows, palette, blink, cursor } = update;
  const attributes = pixelBytes(update.attributes);
  return {
    text,
    attributes,
    columns,
    rows,
    palette,
    blink,
    cursor: cursor ? cursor.row * columns + cursor.column : -1,
    phase,
  };
}

/** Cells that look otherwise in `next` than in what is on the canvas; all of them when that is nothing or of another kind. */
export function changedCells(shown: TextPicture | undefined, next: TextPicture): number[] {
  const count = next.columns * next.rows;
  const all =
    !shown ||
    shown.columns !== next.columns ||
    shown.rows !== next.rows ||
    shown.blink !== next.blink ||
    shown.palette.join() !== next.palette.join();
  const changed: number[] = [];
  for (let cell = 0; cell < count; cell++) {
    if (
      all ||
      shown.text[cell] !== next.text[cell] ||
      shown.attributes[cell] !== next.attributes[cell] ||
      (shown.phase !== next.phase && next.blink && next.attributes[cell] & 0x80) ||
      (cell === shown.cursor && shown.phase) !== (cell === next.cursor && next.phase)
    ) {
      changed.push(cell);
    }
  }
  return changed;
}

/**
 * How large to draw: device pixels for each of the guest's. A whole number where the picture fits, so that its pixels stay sharp; else as
 * much as fits.
 * @param width size of the picture; @param height likewise; @param roomWidth device pixels that there are; @param roomHeight likewise
 */
export function fit(width: number, height: number, roomWidth: number, roomHeight: number): number {
  const scale = Math.min(roomWidth / width, roomHeight / height);
  return scale >= 1 ? Math.floor(scale) : Math.max(scale, 0.1);
}
