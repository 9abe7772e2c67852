/** The codec of protocol.ts: bigint as 0x-prefixed hex strings. */
import type { Hex, Wire } from './protocol';

export function hexOf(value: bigint): Hex {
  return `0x${value.toString(16)}`;
}

/** A copy in which every bigint is a hex string. */
export function toWire<T>(value: T): Wire<T> {
  if (typeof value === 'bigint') return hexOf(value) as Wire<T>;
  if (Array.isArray(value)) return value.map((each) => toWire(each)) as Wire<T>;
  if (value && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, toWire(each)])) as Wire<T>;
  }
  return value as Wire<T>;
}

/** Parses a hex string (or decimal) of a request. Throws an Error that names the argument. */
export function fromHex(value: unknown, name: string): bigint {
  if (typeof value === 'string' && /^(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})$/.test(value))
    return BigInt.asUintN(64, BigInt(value));
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return BigInt(value);
  throw new Error(`${name}: expected a 0x-prefixed number, got ${JSON.stringify(value)}`);
}
