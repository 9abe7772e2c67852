/** Small images built byte by byte, for the boot tests. */
import { Writer } from '../../../emulator-core/writer';
import type { BootRequest } from '../../../emulator-core/boot/boot';

export interface Segment {
  type: number;
  flags?: number;
  virtual?: number;
  physical?: number;
  memorySize?: number;
  alignment?: number;
  data: Uint8Array;
}
export interface Section {
  name: string;
  type: number;
  flags?: number;
  data: Uint8Array;
  link?: number;
  entrySize?: number;
}
export interface ElfParts {
  bits?: 32 | 64;
  machine?: number;
  entry?: number;
  segments?: Segment[];
  sections?: Section[];
}

/** An ELF file laid out as: header, program headers, segment data, section data, section headers. */
export function elf({ bits = 64, machine, entry = 0, segments = [], sections = [] }: ElfParts): Uint8Array {
  const wide = bits === 64;
  const [headerSize, programSize, sectionSize] = wide ? [64, 56, 64] : [52, 32, 40];
  const out = new Writer();
  const word = (w: Writer, value: number): Writer => (wide ? w.u64(value) : w.u32(value));
  out
    .bytes([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1])
    .zeros(9)
    .u16(2)
    .u16(machine ?? (wide ? 62 : 3))
    .u32(1);
  const all: Section[] = sections.length
    ? [
        { name: '', type: 0, data: new Uint8Array() },
        ...sections,
        { name: '.shstrtab', type: 3, data: new Uint8Array() },
      ]
    : [];
  const names = new Writer();
  const nameOffsets = all.map((s) => {
    const at = names.length;
    names.text(s.name).u8(0);
    return at;
  });
  if (all.length) all[all.length - 1].data = names.done();
  let at = headerSize + programSize * segments.length;
  const place = (data: Uint8Array): number => {
    const start = Math.ceil(at / 16) * 16;
    at = start + data.length;
    return start;
  };
  const segmentAt = segments.map((s) => place(s.data));
  const sectionAt = all.map((s) => place(s.data));
  const tableAt = Math.ceil(at / 16) * 16;
  word(word(word(out, entry), segments.length ? headerSize : 0), all.length ? tableAt : 0);
  out.u32(0).u16(headerSize).u16(programSize).u16(segments.length).u16(sectionSize).u16(all.length);
  out.u16(all.length ? all.length - 1 : 0);
  segments.forEach((s, i) => {
    out.u32(s.type);
    if (wide) out.u32(s.flags ?? 7);
    word(word(word(out, segmentAt[i]), s.virtual ?? s.physical ?? 0), s.physical ?? 0);
    word(word(out, s.data.length), s.memorySize ?? s.data.length);
    if (!wide) out.u32(s.flags ?? 7);
    word(out, s.alignment ?? 16);
  });
  segments.forEach((s, i) => out.zeros(segmentAt[i] - out.length).bytes(s.data));
  all.forEach((s, i) => out.zeros(sectionAt[i] - out.length).bytes(s.data));
  out.zeros(tableAt - out.length);
  all.forEach((s, i) => {
    word(word(word(word(out.u32(nameOffsets[i]).u32(s.type), s.flags ?? 0), 0), sectionAt[i]), s.data.length);
    word(word(out.u32(s.link ?? 0).u32(0), 1), s.entrySize ?? 0);
  });
  return out.done();
}

/** One ELF note, 4-byte aligned. */
export function note(name: string, type: number, description: Uint8Array): Uint8Array {
  const w = new Writer()
    .u32(name.length + 1)
    .u32(description.length)
    .u32(type)
    .text(name)
    .u8(0)
    .align(4);
  return w.bytes(description).align(4).done();
}

/** Little-endian 32-bit words. */
export function words(...values: number[]): Uint8Array {
  const w = new Writer();
  for (const value of values) w.u32(value >>> 0);
  return w.done();
}

export function request(kernel: Uint8Array, more: Partial<BootRequest> = {}): BootRequest {
  const memory = more.memory ?? new Uint8Array(16 << 20);
  return { name: 'k.elf', kernel, protocol: 'auto', cmdline: '', modules: [], cpus: 1, ...more, memory };
}

export class Memory {
  private readonly view: DataView;
  constructor(readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  u16(at: number): number {
    return this.view.getUint16(at, true);
  }
  u32(at: number): number {
    return this.view.getUint32(at, true);
  }
  u64(at: number): number {
    return Number(this.view.getBigUint64(at, true));
  }
  text(at: number, length?: number): string {
    const end = length === undefined ? this.bytes.indexOf(0, at) : at + length;
    return new TextDecoder().decode(this.bytes.subarray(at, end));
  }
}

/** Sum of bytes modulo 256: 0 for a correct checksum. */
export const sum = (bytes: Uint8Array): number => bytes.reduce((total, b) => (total + b) & 0xff, 0);

export interface BzImageOptions {
  version?: number;
  xloadflags?: number;
  relocatable?: boolean;
  initSize?: number;
  initrdMax?: number;
  loadflags?: number;
  /** Replaces the setup sector from offset 268h on. */
  setup?: Uint8Array;
  /** Replaces the protected-mode part. */
  payload?: Uint8Array;
  cmdlineSize?: number;
}

/** A bzImage of one setup sector and 0x400 bytes of HLT. */
export function bzImage(options: BzImageOptions = {}): Uint8Array {
  const image = new Uint8Array(1024 + 0x400).fill(0xf4, 1024);
  const view = new DataView(image.buffer);
  image[0x1f1] = 1;
  view.setUint32(0x1f4, 0x40, true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint16(0x200, 0x66eb, true);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, options.version ?? 0x20f, true);
  image[0x211] = options.loadflags ?? 1;
  view.setUint32(0x214, 0x100000, true);
  view.setUint32(0x22c, options.initrdMax ?? 0x7fffffff, true);
  view.setUint32(0x230, 0x200000, true);
  image[0x234] = options.relocatable ? 1 : 0;
  view.setUint16(0x236, options.xloadflags ?? 1, true);
  view.setUint32(0x238, options.cmdlineSize ?? 2047, true);
  view.setBigUint64(0x258, 0x400000n, true);
  view.setUint32(0x260, options.initSize ?? 0x100000, true);
  if (options.setup) image.set(options.setup, 0x268);
  if (options.payload) image.set(options.payload, 1024);
  return image;
}
