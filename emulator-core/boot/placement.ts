/**
 * Where things go in guest memory while a guest is loaded: every range is claimed once, and what does not fit or would
 * overlap is refused with a message that says why.
 */
import type { BootRequest, BootResult } from './boot';
import { BootError } from './bootError';
import { framebufferBytes, type Framebuffer } from './framebuffer';
import { ACPI_AREA, EBDA, memoryMap, ramEndOf, ROM_WINDOW, type MemoryRange } from './memoryMap';

interface Claim {
  what: string;
  start: number;
  end: number;
}

export interface AllocateOptions {
  /** A power of two; 16 when absent. */
  alignment?: number;
  /** Lowest address allowed. */
  floor?: number;
  /** The allocation ends at or below this address. */
  limit?: number;
  /** Search from `floor` up instead of from `limit` down. */
  upward?: boolean;
}

const hex = (value: number): string => '0x' + value.toString(16);

export class Placement {
  readonly loaded: BootResult['loaded'] = [];
  readonly map: MemoryRange[];
  /** End of ordinary RAM. */
  readonly ramEnd: number;
  /** Where the ACPI tables begin. */
  readonly acpiArea: number;
  readonly framebuffer?: Framebuffer;
  private readonly claims: Claim[] = [];

  /** @throws BootError when the size of guest memory is not supported */
  constructor(private readonly request: BootRequest) {
    const { memory, framebuffer } = request;
    const reserved = framebuffer ? framebufferBytes(framebuffer) : 0;
    this.map = memoryMap(memory.length, reserved);
    this.ramEnd = ramEndOf(memory.length, reserved);
    this.acpiArea = memory.length - ACPI_AREA;
    if (framebuffer) this.framebuffer = { ...framebuffer, gpa: this.ramEnd, pitch: framebuffer.width * 4 };
    this.claims.push(
      { what: 'the interrupt vectors and BIOS data area', start: 0, end: 0x600 },
      { what: 'the extended BIOS data area', start: EBDA, end: ROM_WINDOW.start },
      { what: 'video memory and the BIOS', start: ROM_WINDOW.start, end: ROM_WINDOW.end },
      { what: 'the framebuffer', start: this.ramEnd, end: this.acpiArea },
      { what: 'the ACPI tables', start: this.acpiArea, end: memory.length },
    );
  }

  /** An error that names the kernel file. */
  error(text: string): BootError {
    return new BootError(`${this.request.name}: ${text}`);
  }

  /** What already occupies part of [gpa, gpa + length), or undefined. */
  conflict(gpa: number, length: number): Claim | undefined {
    return this.claims.find((c) => gpa < c.end && c.start < gpa + length);
  }

  /**
   * Puts `data` at `gpa`, followed by zeros up to `length`.
   * @throws BootError when the range is not free RAM; the message says how much memory the guest needs
   */
  place(what: string, gpa: number, data: Uint8Array, length = data.length): void {
    if (length === 0) return;
    this.claim(what, gpa, length);
    this.request.memory.set(data, gpa);
    if (!this.request.zeroed) this.request.memory.fill(0, gpa + data.length, gpa + length);
    this.loaded.push({ what, gpa, length });
  }

  /**
   * Reserves [gpa, gpa + length) without writing to it.
   * @throws BootError as `place`
   */
  claim(what: string, gpa: number, length: number): void {
    const { memory } = this.request;
    const range = `${hex(gpa)} to ${hex(gpa + length - 1)}`;
    if (gpa + length > this.ramEnd) {
      const needed = Math.ceil((gpa + length + ACPI_AREA) / 0x100000);
      const advice =
        needed <= 3072
          ? `it needs "memory" of at least ${needed} MiB`
          : 'guest memory ends at 3 GiB at most; link it at a lower physical address';
      throw this.error(
        `${what} goes to guest-physical ${range}, but usable RAM ends at ${hex(this.ramEnd)} ` +
          `(${memory.length / 0x100000} MiB less the ACPI tables): ${advice}`,
      );
    }
    const other = this.conflict(gpa, length);
    if (other) {
      throw this.error(
        `${what} goes to guest-physical ${range}, which overlaps ${other.what} ` +
          `(${hex(other.start)} to ${hex(other.end - 1)})`,
      );
    }
    this.claims.push({ what, start: gpa, end: gpa + length });
  }

  /** A free range as `allocate` would choose it, without claiming it; or undefined. */
  find(length: number, options: AllocateOptions = {}): number | undefined {
    const { alignment = 16, floor = 0x1000, upward = false } = options;
    const limit = Math.min(options.limit ?? this.ramEnd, this.ramEnd);
    const down = (value: number): number => Math.floor(value / alignment) * alignment;
    const up = (value: number): number => Math.ceil(value / alignment) * alignment;
    let gpa = upward ? up(floor) : down(limit - length);
    while (gpa >= floor && gpa + length <= limit) {
      const other = this.conflict(gpa, length);
      if (!other) return gpa;
      gpa = upward ? up(other.end) : down(other.start - length);
    }
    return undefined;
  }

  /**
   * Finds room for `data` (and zeros up to `length`), by default as high as possible below `limit`, and puts it there.
   * @returns its guest-physical address
   * @throws BootError when there is no room
   */
  allocate(what: string, data: Uint8Array, options: AllocateOptions = {}, length = data.length): number {
    const gpa = this.find(Math.max(length, 1), options);
    if (gpa === undefined) {
      throw this.error(
        `no room for ${what} (${hex(length)} bytes) between guest-physical ${hex(options.floor ?? 0x1000)} and ` +
          `${hex(Math.min(options.limit ?? this.ramEnd, this.ramEnd))}: give the guest more "memory"`,
      );
    }
    this.place(what, gpa, data, length);
    return gpa;
  }

  /** Writes again to a range that was placed before. */
  overwrite(gpa: number, data: Uint8Array): void {
    this.request.memory.set(data, gpa);
  }

  /** Room below 640 KiB, where boot information goes. @throws BootError when there is none */
  allocateLow(what: string, data: Uint8Array, alignment = 16): number {
    return this.allocate(what, data, { alignment, limit: EBDA });
  }
}
