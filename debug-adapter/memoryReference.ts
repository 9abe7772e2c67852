/** Memory references of DAP: '0x1000' (virtual), 'phys:0x1000', 'host:0x1000'; and base64 without Node's Buffer. */
import { showAddress } from './expression/compile';
import type { AddressSpace } from './target';

export interface MemoryReference {
  space: AddressSpace;
  address: bigint;
}

/** Parses a reference, with an optional offset in bytes. Throws an Error that says what a reference looks like. */
export function parseMemoryReference(text: string, offset = 0): MemoryReference {
  const found = /^\s*(?:(virt|phys|host):)?\s*(0[xX][0-9a-fA-F]+|[0-9]+)\s*$/.exec(text);
  if (!found) throw new Error(`'${text}' is no memory reference; expected 0x1000, phys:0x1000 or host:0x1000`);
  const space: AddressSpace = found[1] === 'phys' ? 'physical' : found[1] === 'host' ? 'host' : 'virtual';
  return { space, address: BigInt.asUintN(64, BigInt(found[2]) + BigInt(Math.trunc(offset))) };
}

export function formatMemoryReference({ space, address }: MemoryReference): string {
  return showAddress(space, address);
}

const CHUNK = 0x8000;

export function toBase64(bytes: Uint8Array): string {
  let binary = '';
  for (let i = 0; i < bytes.length; i += CHUNK) binary += String.fromCharCode(...bytes.subarray(i, i + CHUNK));
  return btoa(binary);
}

/** Throws an Error on what is no base64. */
export function fromBase64(text: string): Uint8Array {
  let binary: string;
  try {
    binary = atob(text);
  } catch {
    throw new Error('data is no base64');
  }
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
