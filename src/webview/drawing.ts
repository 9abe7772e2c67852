/** How text cells look. VGA text attributes: bits 3-0 foreground, 6-4 background, 7 blink or the background's bit 3. */

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
