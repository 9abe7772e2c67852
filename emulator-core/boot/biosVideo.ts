/**
 * INT 10h: text on the 80x25 screen at B8000h. Source: IBM PC/AT Technical Reference, "BIOS"; Ralf Brown's Interrupt
 * List, INT 10. The screen's state (mode, cursor, page) is the BIOS data area's. The cursor of all pages is kept, and
 * pages are addressed by their number; the CRT controller's own cursor registers are not programmed.
 */
import type { BiosCall, BiosOutcome } from './biosMachine';
import { Bda } from './biosRom';

const TEXT = 0xb8000;
const TEXT_SIZE = 0x8000;
const ROWS = 25;
const COLUMNS = 80;
const PAGE_SIZE = 0x1000;
const PAGES = 8;
const NORMAL = 0x07;

interface Cursor {
  row: number;
  column: number;
}

function cursor(call: BiosCall, page: number): Cursor {
  const value = call.readWord(Bda.cursorPositions + page * 2);
  return { column: value & 0xff, row: value >> 8 };
}

function setCursor(call: BiosCall, page: number, { row, column }: Cursor): void {
  call.writeWord(Bda.cursorPositions + page * 2, (row << 8) | column);
}

/** Guest-physical address of a cell. Positions outside the screen are clipped to it. */
function cell(page: number, row: number, column: number): number {
  return TEXT + page * PAGE_SIZE + (Math.min(row, ROWS - 1) * COLUMNS + Math.min(column, COLUMNS - 1)) * 2;
}

function blanks(count: number, attribute: number): Uint8Array {
  const line = new Uint8Array(count * 2);
  for (let i = 0; i < line.length; i += 2) {
    line[i] = 0x20;
    line[i + 1] = attribute;
  }
  return line;
}

/** The screen as the power-on test leaves it: mode 3, blanks in light grey on black. */
export function clearScreen(memory: Uint8Array): void {
  if (memory.length >= TEXT + TEXT_SIZE) memory.set(blanks(TEXT_SIZE / 2, NORMAL), TEXT);
}

/** Moves the lines of a window up (by > 0) or down (by < 0); 0 clears it. Window coordinates are inclusive. */
function scroll(call: BiosCall, page: number, by: number, attribute: number, from: Cursor, to: Cursor): void {
  const bottom = Math.min(to.row, ROWS - 1);
  const right = Math.min(to.column, COLUMNS - 1);
  if (from.row > bottom || from.column > right) return;
  const width = right - from.column + 1;
  const height = bottom - from.row + 1;
  const window = Array.from({ length: height }, (_, i) =>
    call.machine.readMemory(cell(page, from.row + i, from.column), width * 2).slice(),
  );
  for (let i = 0; i < height; i++) {
    const source = by === 0 ? undefined : window[i + by];
    call.machine.writeMemory(cell(page, from.row + i, from.column), source ?? blanks(width, attribute));
  }
}

/** Writes one character as a terminal would: BEL, BS, LF and CR act; the screen scrolls at its end. */
function teletype(call: BiosCall, page: number, character: number, attribute?: number): void {
  const at = cursor(call, page);
  if (character === 0x08) at.column = Math.max(0, at.column - 1);
  else if (character === 0x0a) at.row++;
  else if (character === 0x0d) at.column = 0;
  else if (character !== 0x07) {
    const gpa = cell(page, at.row, at.column);
    call.writeByte(gpa, character);
    if (attribute !== undefined) call.writeByte(gpa + 1, attribute);
    at.column++;
    if (at.column >= COLUMNS) {
      at.column = 0;
      at.row++;
    }
  }
  if (at.row >= ROWS) {
    const fill = call.readByte(cell(page, ROWS - 1, 0) + 1);
    scroll(call, page, 1, fill, { row: 0, column: 0 }, { row: ROWS - 1, column: COLUMNS - 1 });
    at.row = ROWS - 1;
  }
  setCursor(call, page, at);
}

/** AH = 13h: a string of characters (mode bit 1 clear) or of characters with attributes (set). */
function writeString(call: BiosCall, page: number): void {
  const mode = call.low('eax');
  const perCharacter = mode & 2 ? 2 : 1;
  const base = call.regs.segmentBase('es');
  const before = cursor(call, page);
  setCursor(call, page, { row: call.high('edx'), column: call.low('edx') });
  const count = call.word('ecx');
  for (let i = 0; i < count; i++) {
    const offset = call.word('ebp') + i * perCharacter;
    const character = call.readByte(base + (offset & 0xffff));
    const attribute = perCharacter === 2 ? call.readByte(base + ((offset + 1) & 0xffff)) : call.low('ebx');
    teletype(call, page, character, attribute);
    call.machine.console(character);
  }
  if (!(mode & 1)) setCursor(call, page, before);
}

function repeat(call: BiosCall, page: number, attribute?: number): void {
  const { row, column } = cursor(call, page);
  const first = cell(page, row, column);
  const end = TEXT + page * PAGE_SIZE + ROWS * COLUMNS * 2;
  const count = Math.min(call.word('ecx'), (end - first) / 2);
  for (let i = 0; i < count; i++) {
    call.writeByte(first + i * 2, call.low('eax'));
    if (attribute !== undefined) call.writeByte(first + i * 2 + 1, attribute);
  }
}

/** Carries out INT 10h. Modes other than 80x25 text (0 to 3, 7) are noted and leave the screen as it is. */
export function videoService(call: BiosCall): BiosOutcome {
  const page = call.high('ebx') % PAGES;
  const active = call.readByte(Bda.page) % PAGES;
  switch (call.high('eax')) {
    case 0x00: {
      const mode = call.low('eax') & 0x7f;
      if (mode > 3 && mode !== 7) return call.unsupported();
      if (!(call.low('eax') & 0x80)) call.machine.writeMemory(TEXT, blanks(TEXT_SIZE / 2, NORMAL));
      call.writeByte(Bda.videoMode, 3);
      call.writeByte(Bda.page, 0);
      for (let i = 0; i < PAGES; i++) setCursor(call, i, { row: 0, column: 0 });
      call.setLow('eax', 0x30);
      return 'return';
    }
    case 0x01:
      call.writeWord(Bda.cursorShape, call.word('ecx'));
      return 'return';
    case 0x02:
      setCursor(call, page, { row: call.high('edx'), column: call.low('edx') });
      return 'return';
    case 0x03: {
      const { row, column } = cursor(call, page);
      call.setWord('edx', (row << 8) | column);
      call.setWord('ecx', call.readWord(Bda.cursorShape));
      return 'return';
    }
    case 0x05:
      call.writeByte(Bda.page, call.low('eax') % PAGES);
      return 'return';
    case 0x06:
    case 0x07: {
      const by = call.low('eax') * (call.high('eax') === 6 ? 1 : -1);
      const from = { row: call.high('ecx'), column: call.low('ecx') };
      const to = { row: call.high('edx'), column: call.low('edx') };
      scroll(call, active, by, call.high('ebx'), from, to);
      return 'return';
    }
    case 0x08: {
      const { row, column } = cursor(call, page);
      call.setWord('eax', call.readWord(cell(page, row, column)));
      return 'return';
    }
    case 0x09:
      repeat(call, page, call.low('ebx'));
      return 'return';
    case 0x0a:
      repeat(call, page);
      return 'return';
    case 0x0e:
      teletype(call, active, call.low('eax'));
      call.machine.console(call.low('eax'));
      return 'return';
    case 0x0f:
      call.setWord('eax', (COLUMNS << 8) | call.readByte(Bda.videoMode));
      call.setHigh('ebx', active);
      return 'return';
    case 0x12: {
      const EGA_INFORMATION = 0x10;
      if (call.low('ebx') !== EGA_INFORMATION) return call.unsupported();
      call.setWord('ebx', 3); // colour, 256 KiB
      call.setWord('ecx', 9); // no feature bits; switches of an 80x25 colour display
      return 'return';
    }
    case 0x13:
      writeString(call, page);
      return 'return';
    case 0x1a:
      if (call.low('eax') !== 0) return call.unsupported();
      call.setLow('eax', 0x1a); // the function exists
      call.setWord('ebx', 8); // VGA with a colour display, and no other
      return 'return';
    case 0x4f: // VESA modes, asked for routinely: AL other than 4Fh says that there are none
      return call.status(0x86);
    default:
      return call.unsupported();
  }
}
