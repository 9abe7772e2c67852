/**
 * The setup header of a Linux image: where its fields are and what they mean when an image's protocol is too old for them.
 * Source: Linux kernel documentation, "The Linux/x86 Boot Protocol", section "Details of Header Fields".
 */

/** The fields used here by their names in the protocol: offset in the image (and in the zero page), bytes, first protocol version that has it. */
export const SETUP_FIELDS = {
  setup_sects: [0x1f1, 1, 0],
  syssize: [0x1f4, 4, 0x204],
  vid_mode: [0x1fa, 2, 0],
  boot_flag: [0x1fe, 2, 0],
  jump: [0x200, 2, 0x200],
  header: [0x202, 4, 0x200],
  version: [0x206, 2, 0x200],
  kernel_version: [0x20e, 2, 0x200],
  type_of_loader: [0x210, 1, 0x200],
  loadflags: [0x211, 1, 0x200],
  code32_start: [0x214, 4, 0x200],
  ramdisk_image: [0x218, 4, 0x200],
  ramdisk_size: [0x21c, 4, 0x200],
  heap_end_ptr: [0x224, 2, 0x201],
  cmd_line_ptr: [0x228, 4, 0x202],
  initrd_addr_max: [0x22c, 4, 0x203],
  kernel_alignment: [0x230, 4, 0x205],
  relocatable_kernel: [0x234, 1, 0x205],
  xloadflags: [0x236, 2, 0x20c],
  cmdline_size: [0x238, 4, 0x206],
  payload_offset: [0x248, 4, 0x208],
  payload_length: [0x24c, 4, 0x208],
  pref_address: [0x258, 8, 0x20a],
  init_size: [0x260, 4, 0x20a],
} as const satisfies Record<string, readonly [offset: number, size: 1 | 2 | 4 | 8, since: number]>;

export type SetupField = keyof typeof SETUP_FIELDS;

/** Bits of loadflags and xloadflags. */
export const LOADED_HIGH = 1 << 0;
export const CAN_USE_HEAP = 1 << 7;
export const XLF_KERNEL_64 = 1 << 0;

const BOOT_FLAG = 0xaa55;
const HDRS = 0x53726448;
const SECTOR = 512;
/** Setup sectors of images that say 0. */
const DEFAULT_SETUP_SECTS = 4;

/** A setup header in an image, in the real-mode code made of it, or in a zero page. */
export class SetupHeader {
  private readonly view: DataView;
  /** Bytes before the protected-mode part: the boot sector and the setup sectors. */
  readonly setupSize: number;
  readonly version: number;
  /** Where the header ends: behind what the jump at its start passes over. */
  readonly end: number;

  /** @param bytes with the header at its place; it is written to by `set` */
  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.setupSize = ((bytes[SETUP_FIELDS.setup_sects[0]] || DEFAULT_SETUP_SECTS) + 1) * SECTOR;
    this.version = this.view.getUint16(SETUP_FIELDS.version[0], true);
    this.end = SETUP_FIELDS.header[0] + bytes[SETUP_FIELDS.jump[0] + 1];
  }

  /** The header of an image; undefined when it carries none: 'HdrS' at offset 202h after the boot flag AA55h. */
  static of(image: Uint8Array): SetupHeader | undefined {
    if (image.length < SETUP_FIELDS.type_of_loader[0]) return undefined;
    const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
    if (view.getUint16(SETUP_FIELDS.boot_flag[0], true) !== BOOT_FLAG) return undefined;
    return view.getUint32(SETUP_FIELDS.header[0], true) === HDRS ? new SetupHeader(image) : undefined;
  }

  /** Whether the image's protocol version has the field, and its header is long enough. */
  has(field: SetupField): boolean {
    const [offset, size, since] = SETUP_FIELDS[field];
    if (this.version < since || offset + size > this.bytes.length) return false;
    // What stands before the jump is not behind it.
    return offset < SETUP_FIELDS.header[0] || (offset + size <= this.end && offset + size <= this.setupSize);
  }

  /** A field's value, or `missing` where the image does not have it. */
  get(field: SetupField, missing = 0): number {
    if (!this.has(field)) return missing;
    const [offset, size] = SETUP_FIELDS[field];
    switch (size) {
      case 1:
        return this.view.getUint8(offset);
      case 2:
        return this.view.getUint16(offset, true);
      case 4:
        return this.view.getUint32(offset, true);
      case 8:
        return Number(this.view.getBigUint64(offset, true));
    }
  }

  /** Fills in a field; nothing happens where the image does not have it. */
  set(field: SetupField, value: number): void {
    if (!this.has(field)) return;
    const [offset, size] = SETUP_FIELDS[field];
    for (let i = 0; i < size; i++) this.view.setUint8(offset + i, Math.floor(value / 2 ** (8 * i)) & 0xff);
  }

  /** The kernel's release as in `uname -r`; undefined where the image does not say. */
  get release(): string | undefined {
    // The field counts from the jump's place, 200h.
    const at = this.get('kernel_version') + SETUP_FIELDS.jump[0];
    if (at === SETUP_FIELDS.jump[0] || at >= this.setupSize) return undefined;
    return String.fromCharCode(...this.bytes.subarray(at, Math.min(at + 128, this.setupSize))).split(/[ \0]/)[0];
  }

  /** The part of an image behind the setup sectors, which runs in protected mode. */
  get payload(): Uint8Array {
    return this.bytes.subarray(this.setupSize);
  }
}

/** A field with its value and place, for messages: 'syssize 0x40 at offset 0x1f4'. */
export function showField(header: SetupHeader, field: SetupField): string {
  return `${field} 0x${header.get(field).toString(16)} at offset 0x${SETUP_FIELDS[field][0].toString(16)}`;
}
