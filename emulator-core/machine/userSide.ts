/** What a user sees of the machine and does to it: console, keyboard, mouse, power button, display. All but looking is a change. */
import { keyBytes } from '../devices/keyCodes';
import type { Platform } from '../devices/platform';
import type { Screen } from '../devices/screen';
import type { BootResult } from '../boot/boot';
import type { ConsoleKeys } from './consoleKeys';
import type { Timeline } from './timeline';

export interface UserSideParts {
  platform: Platform;
  keys: ConsoleKeys;
  timeline: Timeline;
  /** Guest RAM. */
  ram: Uint8Array;
  boot(): BootResult;
}

export class UserSide {
  constructor(private readonly parts: UserSideParts) {}

  /** Bytes typed on the console, from now on. False: so many (16 MiB) wait already that these were not taken. */
  type(data: Uint8Array): boolean {
    const { keys, timeline, boot } = this.parts;
    if (!keys.hasRoom(data.length)) return false;
    const bytes = data.slice();
    timeline.change(() => keys.type(bytes, boot().realMode));
    return true;
  }

  /** The console's size in characters, 1 to 65535 each; false: the machine has no console that can tell its guest. */
  consoleSize(cols: number, rows: number): boolean {
    const { platform, timeline } = this.parts;
    const { virtioConsole } = platform;
    // A terminal that is resized while the guest is in its past must not change that.
    if (virtioConsole && timeline.live) timeline.change(() => virtioConsole.resize(cols, rows));
    return virtioConsole !== undefined;
  }

  /** A key of the keyboard by its code; false: the keyboard has no such key. */
  key(code: string, down: boolean): boolean {
    const { platform, timeline } = this.parts;
    const bytes = keyBytes(code, down);
    if (bytes) timeline.change(() => void platform.keyboard.keys(bytes));
    return bytes !== undefined;
  }

  /**
   * The mouse moves by dx to the right and dy down, its wheel turns by so many notches towards the user, and its buttons are now those
   * of the mask: bit 0 left, 1 right, 2 middle, 3 back, 4 forward. False: the guest does not listen to its mouse.
   */
  pointer(dx: number, dy: number, wheel: number, buttons: number): boolean {
    const { platform, timeline } = this.parts;
    if (!platform.keyboard.mouseListens) return false;
    timeline.change(() => platform.keyboard.moveMouse(dx, dy, wheel, buttons));
    return true;
  }

  /** Presses the power button; false: the guest has not enabled its event. */
  powerButton(): boolean {
    const { platform, timeline } = this.parts;
    timeline.change(() => platform.acpiPm.powerButton());
    return platform.acpiPm.powerButtonEnabled;
  }

  /** What the display shows. */
  screen(): Screen {
    const { platform, ram, boot } = this.parts;
    const { framebuffer } = boot();
    if (!framebuffer) return platform.vga.screen();
    const { gpa, width, height, pitch } = framebuffer;
    return { kind: 'graphics', width, height, pitch, pixels: ram.subarray(gpa, gpa + pitch * height) };
  }
}
