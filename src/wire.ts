/**
 * From the adapter's JSON to what the views work with: 64-bit values travel as 0x-prefixed strings and are bigints here.
 * The types follow from protocol.ts. No vscode here: tested without an editor.
 */
import type { ExitItem, Hex, RingsideRequests, ScreenUpdate } from '../debug-adapter/protocol';

export type { ScreenUpdate };

/** The reverse of the protocol's Wire<T>. */
type FromWire<T> = T extends Hex
  ? bigint
  : T extends (infer E)[]
    ? FromWire<E>[]
    : T extends object
      ? { [K in keyof T]: FromWire<T[K]> }
      : T;

type WireEntry = RingsideRequests['ringside/ept']['body']['entries'][number];
type WireWalk = RingsideRequests['ringside/eptWalk']['body'];

export type ExitRecord = FromWire<ExitItem>;
export type PagingEntry = FromWire<WireEntry>;
export type PagingWalk = FromWire<WireWalk>;
export type ExitCounter = RingsideRequests['ringside/exitCounters']['body']['counters'][number];
export type DecodedField = RingsideRequests['ringside/exit']['body']['fields'][number];

export function exitFromWire(exit: ExitItem): ExitRecord {
  return {
    ...exit,
    rip: BigInt(exit.rip),
    qualification: BigInt(exit.qualification),
    guestLinear: BigInt(exit.guestLinear),
    guestPhysical: BigInt(exit.guestPhysical),
  };
}

export function entryFromWire(entry: WireEntry): PagingEntry {
  return {
    ...entry,
    address: BigInt(entry.address),
    span: BigInt(entry.span),
    entryAddress: BigInt(entry.entryAddress),
    raw: BigInt(entry.raw),
    target: BigInt(entry.target),
  };
}

export function walkFromWire(walk: WireWalk): PagingWalk {
  return {
    input: BigInt(walk.input),
    entries: walk.entries.map(entryFromWire),
    result: walk.result === undefined ? undefined : BigInt(walk.result),
    fault: walk.fault,
  };
}

export function toHex(value: bigint): Hex {
  return `0x${value.toString(16)}`;
}

export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

export function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
