/** What can be assigned beside expressions: floating-point numbers, lists of lanes, and numbers wider than 64 bits. */
import type { RegisterNames, RegisterPart } from './registers';
import { ExpressionError } from './tokens';

const REAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;
const NAMED = /^([+-]?)(?:(inf|infinity)|nan)$/i;

/** '1.5e-3', '-inf', 'nan' as a number; undefined for everything else, hexadecimal and octal numbers among it. */
export function realLiteral(text: string): number | undefined {
  const bare = text.trim();
  const named = NAMED.exec(bare);
  if (named) return named[2] ? (named[1] === '-' ? -Infinity : Infinity) : NaN;
  // A leading zero is C's octal, which expressions understand.
  return REAL.test(bare) && !/^[+-]?0\d+$/.test(bare) ? Number(bare) : undefined;
}

/** The parts of '{1, 2, 3, 4}'; undefined when the text is no list. */
export function listLiteral(text: string): string[] | undefined {
  const inner = /^\s*\{(.*)\}\s*$/s.exec(text);
  return inner?.[1].split(',').map((part) => part.trim());
}

/** A number wider than expressions compute with, or what the register's own format has beside whole numbers. */
export function registerLiteral(part: RegisterPart, text: string): bigint | undefined {
  if (part.width !== part.info.width || part.width <= 64) return undefined;
  const bare = text.trim();
  const parsed = part.info.parse?.(bare);
  if (parsed !== undefined) return parsed;
  return /^0x[0-9a-f_]+$/i.test(bare) ? BigInt(bare.replaceAll('_', '')) : undefined;
}

/** Whether text is a number, but no whole one. */
export function isFraction(text: string): boolean {
  return realLiteral(text) !== undefined && !/^\s*[+-]?\d+\s*$/.test(text);
}

/** Throws for a number with a fraction (or inf, nan) where only whole ones go, and names a lane that takes it. */
export function refuseFraction(part: RegisterPart, text: string, registers: RegisterNames): void {
  if (!isFraction(text)) return;
  const name = `$${part.info.name}`;
  const whole = part.width === part.info.width;
  const lane = whole ? registers.floatLane(part.info.name) : undefined;
  const what = whole ? name : `this part of ${name}`;
  const instead = lane ? `; for a floating-point number write a lane, such as $${lane} = ${text.trim()}` : '';
  throw new ExpressionError(`${what} takes a whole number of ${part.width} bits, not ${text.trim()}${instead}`);
}
