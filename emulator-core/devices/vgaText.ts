/**
 * VGA registers as text-mode software uses them: CRTC, sequencer, graphics and attribute controllers, DAC, miscellaneous
 * output and status ports. Text memory at B8000h is plain guest RAM; planes, fonts and graphics modes are not modelled.
 */
import { hex, type Field } from '../fields';
import { character } from './codePage437';
import type { Device, PortHandler, VirtualClock } from './device';
import { describeRegisters, type Register } from './registers';
import type { TextScreen } from './screen';

export const VGA_TEXT_MEMORY = 0xb8000;
const TEXT_BYTES = 0x8000;
const COLUMNS = 80;
const ROWS = 25;

const START_HIGH = 0x0c;
const CURSOR_START = 0x0a;
/** Attribute controller, mode control: attribute bit 7 blinks. */
const MODE_CONTROL = 0x10;
const BLINK = 0x08;
const CURSOR_HIGH = 0x0e;
const OFFSET = 0x13;

/** CRTC registers by index. Those above 18h exist on no VGA. */
const CRTC: readonly Register[] = [
  'horizontal total',
  'horizontal display end',
  'horizontal blank start',
  'horizontal blank end',
  'horizontal retrace start',
  'horizontal retrace end',
  'vertical total',
  'overflow',
  'preset row scan',
  'maximum scan line',
  'cursor start',
  'cursor end',
  'start address high',
  'start address low',
  'cursor location high',
  'cursor location low',
  'vertical retrace start',
  'vertical retrace end',
  'vertical display end',
  'offset',
  'underline location',
  'vertical blank start',
  'vertical blank end',
  'mode control',
  'line compare',
].map((name, offset) => ({ offset, name, access: 'rw' }));

/** Mode 3, 80x25 in 16 colours, as the IBM VGA BIOS sets it. */
const MODE_3 = {
  crtc: [
    0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00, 0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f,
    0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff,
  ],
  sequencer: [0x03, 0x00, 0x03, 0x00, 0x02],
  graphics: [0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff],
  attribute: [0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00],
  misc: 0x67,
};

/** The first 64 colours of the palette as the BIOS loads them: two bits a component, as on the EGA. Components have 6 bits. */
function egaPalette(): number[] {
  const part = (colour: number, bit: number) => ((colour >> bit) & 1) * 0x2a + ((colour >> (bit + 3)) & 1) * 0x15;
  return Array.from({ length: 64 }, (_, colour) => [part(colour, 2), part(colour, 1), part(colour, 0)]).flat();
}

/** One frame at 70 Hz: 449 lines of 31.778 us, of which 400 are shown; the retrace pulse is lines 412 and 413. */
const LINE_NS = 31778;
const LINES = 449;

interface VgaState {
  crtcIndex: number;
  sequencerIndex: number;
  graphicsIndex: number;
  attributeIndex: number;
  /** The next write of 3C0h is data. */
  attributeData: boolean;
  crtc: Uint8Array;
  sequencer: Uint8Array;
  graphics: Uint8Array;
  attribute: Uint8Array;
  misc: number;
  feature: number;
  dacMask: number;
  dacIndex: number;
  dacComponent: number;
  dacRead: boolean;
  palette: Uint8Array;
}

function initialState(): VgaState {
  const bytes = (length: number, values: number[]) => {
    const array = new Uint8Array(length);
    array.set(values);
    return array;
  };
  return {
    crtcIndex: 0,
    sequencerIndex: 0,
    graphicsIndex: 0,
    attributeIndex: 0x20,
    attributeData: false,
    crtc: bytes(0x19, MODE_3.crtc),
    sequencer: bytes(5, MODE_3.sequencer),
    graphics: bytes(9, MODE_3.graphics),
    attribute: bytes(0x15, MODE_3.attribute),
    misc: MODE_3.misc,
    feature: 0,
    dacMask: 0xff,
    dacIndex: 0,
    dacComponent: 0,
    dacRead: false,
    palette: bytes(768, egaPalette()),
  };
}

export class VgaText implements Device<VgaState>, PortHandler {
  readonly name = 'vga';
  private state = initialState();

  /** `memory` is guest RAM from guest-physical 0. */
  constructor(
    private readonly memory: Uint8Array,
    private readonly clock: VirtualClock,
  ) {}

  /** What the screen shows: 25 rows of 80 characters. */
  screen(): TextScreen {
    const start = this.word(START_HIGH) * 2;
    const pitch = (this.state.crtc[OFFSET] || COLUMNS / 2) * 4;
    const attributes = new Uint8Array(ROWS * COLUMNS);
    let text = '';
    for (let cell = 0; cell < attributes.length; cell++) {
      const offset = (start + Math.floor(cell / COLUMNS) * pitch + (cell % COLUMNS) * 2) % TEXT_BYTES;
      text += character(this.memory[VGA_TEXT_MEMORY + offset] ?? 0);
      attributes[cell] = this.memory[VGA_TEXT_MEMORY + offset + 1] ?? 0;
    }
    const blink = (this.state.attribute[MODE_CONTROL] & BLINK) !== 0;
    return {
      kind: 'text',
      columns: COLUMNS,
      rows: ROWS,
      text,
      attributes,
      blink,
      palette: Array.from({ length: 16 }, (_, i) => this.colour(i)),
      cursor: this.cursor(),
    };
  }

  /** Of an attribute's four bits, through attribute controller and DAC, as 0xRRGGBB. */
  private colour(index: number): number {
    const { attribute, palette, dacMask } = this.state;
    const at = (attribute[index] & dacMask) * 3;
    const component = (i: number) => Math.round((palette[at + i] * 255) / 63);
    return (component(0) << 16) | (component(1) << 8) | component(2);
  }

  /** The screen's characters: 25 rows of 80. */
  text(): string[] {
    const { text, rows, columns } = this.screen();
    return Array.from({ length: rows }, (_, row) => text.slice(row * columns, (row + 1) * columns));
  }

  /** Where the cursor is; undefined while it is off or outside the screen. */
  cursor(): { row: number; column: number } | undefined {
    const position = this.word(CURSOR_HIGH) - this.word(START_HIGH);
    const pitch = (this.state.crtc[OFFSET] || COLUMNS / 2) * 2;
    const row = Math.floor(position / pitch);
    const column = position % pitch;
    if (this.state.crtc[CURSOR_START] & 0x20 || row < 0 || row >= ROWS || column >= COLUMNS) return undefined;
    return { row, column };
  }

  reset(): void {
    this.state = initialState();
  }

  save(): VgaState {
    return structuredClone(this.state);
  }

  restore(state: VgaState): void {
    this.state = structuredClone(state);
  }

  describe(): Field[] {
    const cursor = this.cursor();
    return [
      { name: 'cursor', value: cursor ? `row ${cursor.row}, column ${cursor.column}` : 'off' },
      { name: 'misc output', value: hex(this.state.misc, 8) },
      { name: 'CRTC', value: '', children: describeRegisters(CRTC, (row) => this.state.crtc[row.offset]) },
    ];
  }

  readPort(port: number): number {
    const s = this.state;
    switch (port) {
      case 0x3c0:
        return s.attributeIndex;
      case 0x3c1:
        return s.attribute[s.attributeIndex & 0x1f] ?? 0;
      case 0x3c2:
        return 0x10; // input status 0: a monitor is sensed
      case 0x3c4:
        return s.sequencerIndex;
      case 0x3c5:
        return s.sequencer[s.sequencerIndex] ?? 0;
      case 0x3c6:
        return s.dacMask;
      case 0x3c7:
        return s.dacRead ? 0x03 : 0x00;
      case 0x3c8:
        return s.dacIndex;
      case 0x3c9:
        return this.dac();
      case 0x3ca:
        return s.feature;
      case 0x3cc:
        return s.misc;
      case 0x3ce:
        return s.graphicsIndex;
      case 0x3cf:
        return s.graphics[s.graphicsIndex] ?? 0;
      default:
        return this.readCrtc(port);
    }
  }

  writePort(port: number, value: number): void {
    const s = this.state;
    switch (port) {
      case 0x3c0:
        if (!s.attributeData) s.attributeIndex = value & 0x3f;
        else if ((s.attributeIndex & 0x1f) < s.attribute.length) s.attribute[s.attributeIndex & 0x1f] = value & 0x3f;
        s.attributeData = !s.attributeData;
        return;
      case 0x3c2:
        s.misc = value;
        return;
      case 0x3c4:
        s.sequencerIndex = value & 7;
        return;
      case 0x3c5:
        if (s.sequencerIndex < s.sequencer.length) s.sequencer[s.sequencerIndex] = value;
        return;
      case 0x3c6:
        s.dacMask = value;
        return;
      case 0x3c7:
      case 0x3c8:
        s.dacIndex = value;
        s.dacComponent = 0;
        s.dacRead = port === 0x3c7;
        return;
      case 0x3c9:
        this.dac(value);
        return;
      case 0x3ce:
        s.graphicsIndex = value & 15;
        return;
      case 0x3cf:
        if (s.graphicsIndex < s.graphics.length) s.graphics[s.graphicsIndex] = value;
        return;
      default:
        this.writeCrtc(port, value);
    }
  }

  /** Miscellaneous output bit 0 puts the CRTC and input status 1 at 3Dxh, else at 3Bxh. */
  private decodesCrtc(port: number): boolean {
    return (port & 0x3f0) === (this.state.misc & 1 ? 0x3d0 : 0x3b0);
  }

  private readCrtc(port: number): number {
    const s = this.state;
    if (!this.decodesCrtc(port)) return 0xff;
    switch (port & 15) {
      case 4:
        return s.crtcIndex;
      case 5:
        return s.crtc[s.crtcIndex] ?? 0;
      case 10: {
        s.attributeData = false;
        const now = this.clock.now();
        const line = Math.floor(now / LINE_NS) % LINES;
        const blank = line >= 400 || now % LINE_NS >= LINE_NS * 0.8;
        return (line === 412 || line === 413 ? 0x08 : 0) | (blank ? 0x01 : 0);
      }
      default:
        return 0xff;
    }
  }

  private writeCrtc(port: number, value: number): void {
    const s = this.state;
    if (!this.decodesCrtc(port)) return;
    if ((port & 15) === 4) s.crtcIndex = value & 0x3f;
    else if ((port & 15) === 10) s.feature = value & 3;
    else if ((port & 15) === 5 && s.crtcIndex < s.crtc.length) {
      // Vertical retrace end bit 7 protects registers 0-7, except the line compare bit in the overflow register.
      if (!(s.crtc[0x11] & 0x80) || s.crtcIndex > 7) s.crtc[s.crtcIndex] = value;
      else if (s.crtcIndex === 7) s.crtc[7] = (s.crtc[7] & ~0x10) | (value & 0x10);
    }
  }

  /** Reads or writes the palette's next component. */
  private dac(value?: number): number {
    const s = this.state;
    const at = s.dacIndex * 3 + s.dacComponent;
    if (value !== undefined) s.palette[at] = value & 0x3f;
    s.dacComponent++;
    if (s.dacComponent === 3) {
      s.dacComponent = 0;
      s.dacIndex = (s.dacIndex + 1) & 0xff;
    }
    return s.palette[at];
  }

  private word(index: number): number {
    return (this.state.crtc[index] << 8) | this.state.crtc[index + 1];
  }
}
