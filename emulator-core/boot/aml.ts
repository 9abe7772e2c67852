/**
 * ACPI Machine Language: objects of a definition block and resource descriptors, as bytes.
 * Source: ACPI Specification 6.5, chapter 20 "ACPI Machine Language (AML) Specification", and section 6.4 "Resource Data
 * Types for ACPI" (the descriptor's section is named at each function).
 */
import { Writer } from '../writer';

/** Encoded terms or data objects. */
export type Aml = readonly number[];

const NAME_OP = 0x08;
const STRING_PREFIX = 0x0d;
const SCOPE_OP = 0x10;
const BUFFER_OP = 0x11;
const PACKAGE_OP = 0x12;
const DEVICE_OP = [0x5b, 0x82];

/** "Named Objects Encoding": path segments of four characters, padded with '_'. `\` begins at the root. */
function nameString(path: string): Aml {
  const root = path.startsWith('\\') ? [0x5c] : [];
  const segments = path.replace(/^\\/, '').split('.');
  const prefix = segments.length === 1 ? [] : segments.length === 2 ? [0x2e] : [0x2f, segments.length];
  const text = segments.map((segment) => segment.padEnd(4, '_')).join('');
  if (!/^([A-Z_][A-Z0-9_]{3})+$/.test(text)) throw new Error(`AML name '${path}': segments have 1 to 4 of A-Z, 0-9, _`);
  return [...root, ...prefix, ...Array.from(text, (c) => c.charCodeAt(0))];
}

/** "Package Length Encoding": the length counts its own bytes. */
function packageLength(content: number): Aml {
  if (content + 1 < 0x40) return [content + 1];
  const extra = content + 2 < 0x1000 ? 1 : content + 3 < 0x100000 ? 2 : 3;
  const total = content + 1 + extra;
  const bytes = Array.from({ length: extra }, (_, i) => (total >>> (4 + 8 * i)) & 0xff);
  return [(extra << 6) | (total & 0xf), ...bytes];
}

function sized(op: Aml, content: Aml): Aml {
  return [...op, ...packageLength(content.length), ...content];
}

/** An unsigned integer below 2^32 in its shortest form. */
export function integer(value: number): Aml {
  if (value === 0 || value === 1) return [value];
  const bytes = value <= 0xff ? 1 : value <= 0xffff ? 2 : 4;
  const prefix = { 1: 0x0a, 2: 0x0b, 4: 0x0c }[bytes]!;
  return [prefix, ...Array.from({ length: bytes }, (_, i) => (value >>> (8 * i)) & 0xff)];
}

/** `EISAID("PNP0A03")`: three letters of five bits and four hexadecimal digits, most significant byte first. */
export function eisaId(id: string): Aml {
  const found = /^([A-Z]{3})([0-9A-F]{4})$/.exec(id);
  if (!found) throw new Error(`EISA id '${id}': expected three letters and four hexadecimal digits`);
  const letters = Array.from(found[1]).reduce((bits, letter) => (bits << 5) | (letter.charCodeAt(0) - 0x40), 0);
  const product = parseInt(found[2], 16);
  return [0x0c, letters >> 8, letters & 0xff, product >> 8, product & 0xff];
}

/** A string of ASCII characters: an `_HID` that is no EISA id. */
export function string(text: string): Aml {
  return [STRING_PREFIX, ...Array.from(text, (c) => c.charCodeAt(0)), 0];
}

/** `Package () { ... }` of at most 255 elements. */
export function packageOf(...elements: Aml[]): Aml {
  if (elements.length > 255) throw new Error(`AML package of ${elements.length} elements, expected at most 255`);
  return sized([PACKAGE_OP], [elements.length, ...elements.flat()]);
}

/** `Name (path, value)`. */
export function named(path: string, value: Aml): Aml {
  return [NAME_OP, ...nameString(path), ...value];
}

/** `Scope (path) { ... }`. */
export function scope(path: string, ...terms: Aml[]): Aml {
  return sized([SCOPE_OP], [...nameString(path), ...terms.flat()]);
}

/** `Device (name) { ... }`. */
export function device(name: string, ...terms: Aml[]): Aml {
  return sized(DEVICE_OP, [...nameString(name), ...terms.flat()]);
}

// ---- resource descriptors ------------------------------------------------------------------------------------------

/** `ResourceTemplate () { ... }`: a buffer that ends with "End Tag", its checksum 0 (not checked). */
export function resources(...descriptors: Aml[]): Aml {
  const bytes = [...descriptors.flat(), 0x79, 0x00];
  return sized([BUFFER_OP], [...integer(bytes.length), ...bytes]);
}

/** "I/O Port Descriptor": `length` ports from `first`, decoding 16 address bits. */
export function ioPorts(first: number, length: number): Aml {
  const port = [first & 0xff, first >> 8];
  return [0x47, 0x01, ...port, ...port, 0x01, length];
}

/** "IRQ Descriptor" without flags: edge-triggered, active high, exclusive. */
export function irq(line: number): Aml {
  const mask = 1 << line;
  return [0x22, mask & 0xff, mask >> 8];
}

/** "Extended Interrupt Descriptor": a global system interrupt that the device raises, level-triggered, active high, exclusive. */
export function levelInterrupt(gsi: number): Aml {
  const CONSUMER = 1;
  return [0x89, 0x06, 0x00, CONSUMER, 1, ...new Writer().u32(gsi).done()];
}

/** "32-Bit Fixed Memory Range Descriptor". */
export function fixedMemory(base: number, length: number, access: 'ro' | 'rw'): Aml {
  const body = new Writer()
    .u8(access === 'rw' ? 1 : 0)
    .u32(base)
    .u32(length);
  return [0x86, 0x09, 0x00, ...body.done()];
}

const BUS_RANGE = { type: 2, flags: 0x00 };
/** Both ISA and non-ISA ports. */
const IO_RANGE = { type: 1, flags: 0x03 };
/** Read-write, not cacheable. */
const MEMORY_RANGE = { type: 0, flags: 0x01 };
/** "General Flags": minimum and maximum fixed, positive decode, and a producer: the range is passed on to the bus below. */
const PRODUCED = 0x0c;

/** "Word Address Space Descriptor" and "DWord Address Space Descriptor": `first` to `last`. */
function addressSpace(width: 2 | 4, kind: { type: number; flags: number }, first: number, last: number): Aml {
  const body = new Writer().u8(kind.type).u8(PRODUCED).u8(kind.flags);
  for (const field of [0, first, last, 0, last - first + 1]) {
    if (width === 2) body.u16(field);
    else body.u32(field);
  }
  return [width === 2 ? 0x88 : 0x87, body.length, 0, ...body.done()];
}

/** The bus numbers that a host bridge passes on. */
export function busNumbers(first: number, last: number): Aml {
  return addressSpace(2, BUS_RANGE, first, last);
}

/** The ports that a host bridge passes on. */
export function ioWindow(first: number, last: number): Aml {
  return addressSpace(2, IO_RANGE, first, last);
}

/** The memory that a host bridge passes on. */
export function memoryWindow(first: number, last: number): Aml {
  return addressSpace(4, MEMORY_RANGE, first, last);
}
