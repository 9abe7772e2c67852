/**
 * What has changed on the guest's display since a client last asked. A large picture goes out in pieces, so that the adapter never works on
 * one answer for long.
 */
import { toBase64 } from './memoryReference';
import type { ScreenUpdate } from './protocol';
import type { Screen } from './target';

/** Bytes of pixels in one answer at most, but one line at least. */
const PIECE = 512 * 1024;
/** Pixels looked at for one answer at most, but one line at least. */
const LOOK = 2 << 20;

type Graphics = Extract<Screen, { kind: 'graphics' }>;

export class ScreenChanges {
  private version = 0;
  /** What the client has: text as JSON, pixels by line. */
  private text = '';
  private shown = new Uint32Array(0);
  private size = '';
  /** Line at which the next look begins. */
  private at = 0;

  /** @param since version that the client has; another one than the last sent starts anew */
  update(screen: Screen | undefined, since = 0): ScreenUpdate {
    if (since !== this.version || since === 0) this.forget();
    if (!screen) return { kind: 'none', version: this.version };
    return screen.kind === 'text' ? this.textUpdate(screen) : this.graphicsUpdate(screen);
  }

  private forget(): void {
    this.text = '';
    this.size = '';
  }

  private textUpdate(screen: Extract<Screen, { kind: 'text' }>): ScreenUpdate {
    this.size = '';
    const body = { ...screen, attributes: toBase64(screen.attributes) };
    const text = JSON.stringify(body);
    if (text === this.text) return { kind: 'unchanged', version: this.version };
    this.text = text;
    return { version: ++this.version, ...body };
  }

  private graphicsUpdate(screen: Graphics): ScreenUpdate {
    const { width, height, pitch, pixels } = screen;
    this.text = '';
    const size = `${width}x${height}`;
    const anew = size !== this.size;
    if (anew) {
      this.size = size;
      // No pixel has this value: the fourth byte of what is sent is 255.
      this.shown = new Uint32Array(width * height);
      this.at = 0;
    }
    const view = new DataView(pixels.buffer, pixels.byteOffset, pixels.byteLength);
    const bands: { line: number; pixels: string }[] = [];
    const room = Math.max(1, Math.floor(PIECE / (width * 4)));
    /** First line of the band under way, -1 between bands. */
    let first = -1;
    let lines = 0;
    let line = this.at;
    const end = Math.min(height, line + Math.max(1, Math.floor(LOOK / width)));
    const close = (before: number): void => {
      if (first < 0) return;
      const from = this.shown.subarray(first * width, before * width);
      bands.push({ line: first, pixels: toBase64(new Uint8Array(from.buffer, from.byteOffset, from.byteLength)) });
      first = -1;
    };
    for (; line < end && lines < room; line++) {
      if (this.copyLine(view, line * pitch, line * width, width)) {
        if (first < 0) first = line;
        lines++;
      } else close(line);
    }
    close(line);
    const more = line < height;
    this.at = more ? line : 0;
    if (!bands.length && !anew && !more) return { kind: 'unchanged', version: this.version };
    return { version: ++this.version, kind: 'graphics', width, height, bands, more };
  }

  /** Takes over a line of the picture; true when it is another one than before. */
  private copyLine(view: DataView, from: number, to: number, width: number): boolean {
    const { shown } = this;
    let changed = false;
    for (let x = 0; x < width; x++) {
      const pixel = view.getUint32(from + x * 4, true);
      // Red first in memory, opaque.
      const value = (0xff000000 | ((pixel & 0xff) << 16) | (pixel & 0xff00) | ((pixel >> 16) & 0xff)) >>> 0;
      if (shown[to + x] === value) continue;
      shown[to + x] = value;
      changed = true;
    }
    return changed;
  }
}
