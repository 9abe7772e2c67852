/** Calls by their last byte, as return addresses point behind them. SDM Vol. 2A, "CALL—Call Procedure". */

/** Bytes of the longest near call that is looked for, without prefixes: FF /2 with SIB and disp32. */
export const MAX_CALL = 7;

const CALL_REL32 = 0xe8;
const GROUP5 = 0xff;
const NEAR_CALL = 2;

/** A call that code may end in; where it leads, relative to the end, if it is a direct one. */
export interface CallBefore {
  displacement?: number;
}

/**
 * The near calls of 64-bit mode that code may end in. Other bytes may look like one.
 * @param code bytes before a return address, MAX_CALL of them where they can be read
 */
export function callsBefore(code: Uint8Array): CallBefore[] {
  const { length } = code;
  const found: CallBefore[] = [];
  if (length >= 5 && code[length - 5] === CALL_REL32)
    found.push({ displacement: new DataView(code.buffer, code.byteOffset).getInt32(length - 4, true) });
  for (let size = 2; size <= Math.min(length, MAX_CALL); size++) {
    const start = length - size;
    const isCall = code[start] === GROUP5 && ((code[start + 1] >> 3) & 7) === NEAR_CALL;
    if (isCall && sizeOf(code, start) === size) found.push({});
  }
  return found;
}

/** Bytes of an instruction of one opcode byte and a ModRM operand. SDM Vol. 2A, "ModR/M and SIB Bytes". */
function sizeOf(code: Uint8Array, start: number): number {
  const mod = code[start + 1] >> 6;
  const rm = code[start + 1] & 7;
  if (mod === 3) return 2;
  const hasSib = rm === 4;
  const base = hasSib ? code[start + 2] & 7 : rm;
  const displacement = mod === 1 ? 1 : mod === 2 || base === 5 ? 4 : 0;
  return 2 + (hasSib ? 1 : 0) + displacement;
}
