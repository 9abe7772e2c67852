/**
 * Keys by their place on the keyboard, as W3C's "UI Events KeyboardEvent code Values" names them, and what an MF2 keyboard sends for
 * each in scan code set 2: IBM PS/2 Technical Reference, "101/102-Key Keyboard", scan code tables.
 */

const EXTENDED = 0xe0;
const RELEASE = 0xf0;

/** Keys with one byte. */
const PLAIN: Readonly<Record<string, number>> = {
  Escape: 0x76, F1: 0x05, F2: 0x06, F3: 0x04, F4: 0x0c, F5: 0x03, F6: 0x0b, F7: 0x83, F8: 0x0a, F9: 0x01, F10: 0x09, F11: 0x78,
  F12: 0x07, ScrollLock: 0x7e, Backquote: 0x0e, Digit1: 0x16, Digit2: 0x1e, Digit3: 0x26, Digit4: 0x25, Digit5: 0x2e, Digit6: 0x36,
  Digit7: 0x3d, Digit8: 0x3e, Digit9: 0x46, Digit0: 0x45, Minus: 0x4e, Equal: 0x55, Backspace: 0x66, Tab: 0x0d, KeyQ: 0x15,
  KeyW: 0x1d, KeyE: 0x24, KeyR: 0x2d, KeyT: 0x2c, KeyY: 0x35, KeyU: 0x3c, KeyI: 0x43, KeyO: 0x44, KeyP: 0x4d, BracketLeft: 0x54,
  BracketRight: 0x5b, Backslash: 0x5d, CapsLock: 0x58, KeyA: 0x1c, KeyS: 0x1b, KeyD: 0x23, KeyF: 0x2b, KeyG: 0x34, KeyH: 0x33,
  KeyJ: 0x3b, KeyK: 0x42, KeyL: 0x4b, Semicolon: 0x4c, Quote: 0x52, Enter: 0x5a, ShiftLeft: 0x12, IntlBackslash: 0x61, KeyZ: 0x1a,
  KeyX: 0x22, KeyC: 0x21, KeyV: 0x2a, KeyB: 0x32, KeyN: 0x31, KeyM: 0x3a, Comma: 0x41, Period: 0x49, Slash: 0x4a, ShiftRight: 0x59,
  ControlLeft: 0x14, AltLeft: 0x11, Space: 0x29, NumLock: 0x77, NumpadMultiply: 0x7c, NumpadSubtract: 0x7b, NumpadAdd: 0x79,
  NumpadDecimal: 0x71, Numpad0: 0x70, Numpad1: 0x69, Numpad2: 0x72, Numpad3: 0x7a, Numpad4: 0x6b, Numpad5: 0x73, Numpad6: 0x74,
  Numpad7: 0x6c, Numpad8: 0x75, Numpad9: 0x7d,
}; // prettier-ignore

/** Keys with the prefix E0h. */
const WITH_PREFIX: Readonly<Record<string, number>> = {
  ControlRight: 0x14, AltRight: 0x11, MetaLeft: 0x1f, MetaRight: 0x27, ContextMenu: 0x2f, Insert: 0x70, Home: 0x6c, PageUp: 0x7d,
  Delete: 0x71, End: 0x69, PageDown: 0x7a, ArrowUp: 0x75, ArrowLeft: 0x6b, ArrowDown: 0x72, ArrowRight: 0x74, NumpadDivide: 0x4a,
  NumpadEnter: 0x5a,
}; // prettier-ignore

/** What pressing or releasing a key sends. Undefined for a key that the keyboard does not have. */
export function keyBytes(code: string, down: boolean): Uint8Array | undefined {
  const plain = Object.hasOwn(PLAIN, code) ? PLAIN[code] : undefined;
  const extended = Object.hasOwn(WITH_PREFIX, code) ? WITH_PREFIX[code] : undefined;
  const key = plain ?? extended;
  if (key === undefined) return undefined;
  return Uint8Array.of(...(plain === undefined ? [EXTENDED] : []), ...(down ? [] : [RELEASE]), key);
}
