/**
 * A linear framebuffer, set up before the guest starts as a boot loader does by the video BIOS. Its memory is taken from the top of RAM,
 * as graphics built into a chip set take it, and the memory map reserves it.
 */

export interface FramebufferMode {
  width: number;
  height: number;
}

export interface Framebuffer extends FramebufferMode {
  gpa: number;
  /** Bytes from one line to the next. */
  pitch: number;
}

export const BITS_PER_PIXEL = 32;
/** Where a pixel has its colours: 8 bits each, from this bit on. */
export const COLOURS = { red: 16, green: 8, blue: 0 } as const;
export const COLOUR_BITS = 8;

/** Limits of width and height in pixels. */
export const MODE_LIMITS = { width: { min: 320, max: 1920 }, height: { min: 200, max: 1200 } } as const;

/** Bytes of memory that a mode takes, whole MiB: so what is left of RAM ends on one. */
export function framebufferBytes({ width, height }: FramebufferMode): number {
  return Math.ceil((width * height * (BITS_PER_PIXEL / 8)) / 0x100000) * 0x100000;
}
