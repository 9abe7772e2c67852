/** What the mouse does, gathered on its way to the guest: motion adds up, and a change of the buttons keeps its place in between. */

/** Counts of motion since the last, right and down, notches of the wheel towards the user, and the buttons that are down. */
export interface PointerChange {
  dx: number;
  dy: number;
  wheel: number;
  /** Those of W3C's MouseEvent.buttons: bit 0 left, 1 right, 2 middle, 3 back, 4 forward. */
  buttons: number;
}

/** Changes that wait at most: beyond, clicks fall together. */
const LIMIT = 64;

export class PointerQueue {
  private waiting: PointerChange[] = [];
  private rest = { dx: 0, dy: 0, wheel: 0 };
  private buttons = 0;

  /** Motion, in fractions of a count, too: those add up. */
  move(dx: number, dy: number, wheel = 0): void {
    this.rest.dx += dx;
    this.rest.dy += dy;
    this.rest.wheel += wheel;
    const [x, y, z] = [Math.trunc(this.rest.dx), Math.trunc(this.rest.dy), Math.trunc(this.rest.wheel)];
    if (!x && !y && !z) return;
    this.rest.dx -= x;
    this.rest.dy -= y;
    this.rest.wheel -= z;
    const last = this.waiting.at(-1);
    if (last) {
      last.dx += x;
      last.dy += y;
      last.wheel += z;
    } else this.waiting.push({ dx: x, dy: y, wheel: z, buttons: this.buttons });
  }

  press(buttons: number): void {
    if (buttons === this.buttons) return;
    this.buttons = buttons;
    const last = this.waiting.at(-1);
    if (last && this.waiting.length >= LIMIT) last.buttons = buttons;
    else this.waiting.push({ dx: 0, dy: 0, wheel: 0, buttons });
  }

  /** All changes, oldest first, which are taken. */
  takeAll(): PointerChange[] {
    const all = this.waiting;
    this.waiting = [];
    return all;
  }
}
