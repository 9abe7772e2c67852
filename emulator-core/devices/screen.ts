/** What a display shows, as plain data: for the debugger's views. */

export interface TextScreen {
  kind: 'text';
  columns: number;
  rows: number;
  /** A character (one UTF-16 unit) a cell, row by row. */
  text: string;
  /** A byte a cell: foreground in bits 3-0, background in 6-4, bit 7 by `blink`. */
  attributes: Uint8Array;
  /** Attribute bit 7 makes the character blink; else it is the background's bit 3. */
  blink: boolean;
  /** Colours of attribute values 0-15, as 0xRRGGBB. */
  palette: number[];
  /** Absent while it is off or outside of the screen. */
  cursor?: { row: number; column: number };
}

export interface GraphicsScreen {
  kind: 'graphics';
  width: number;
  height: number;
  /** Bytes from one line to the next. */
  pitch: number;
  /** 32 bits a pixel: blue, green, red, unused. A view of guest memory: it changes while the guest runs. */
  pixels: Uint8Array;
}

export type Screen = TextScreen | GraphicsScreen;
