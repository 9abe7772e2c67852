import { Location } from './dwarf/expr';

/** What the value of a variable depends on. Addresses are those of the running machine. */
export interface FrameContext {
  /** Address inside the frame's current instruction: of callers, the return address less one. */
  pc: bigint;
  /** A register of this frame by its DWARF number; undefined when it is not known. */
  register(dwarfNumber: number): Promise<bigint | undefined>;
  /** Bytes up to the first unreadable one. */
  read(address: bigint, length: number): Promise<Uint8Array>;
  /** Canonical frame address. Where undefined, call frame information is asked. */
  cfa?(): Promise<bigint | undefined>;
}

/** Largest value read at once. */
export const MAX_VALUE = 1 << 20;

/** The bytes of a value; undefined where they were optimized out or cannot be read. `size` in bytes, at most 1 MiB. */
export async function readLocation(
  location: Location,
  size: number,
  context: Pick<FrameContext, 'register' | 'read'>,
): Promise<Uint8Array | undefined> {
  if (!(size >= 0 && size <= MAX_VALUE)) return undefined;
  switch (location.kind) {
    case 'memory': {
      const bytes = size === 0 ? new Uint8Array(0) : await context.read(location.address, size);
      return bytes.length >= size ? bytes.subarray(0, size) : undefined;
    }
    case 'register': {
      const value = await context.register(location.register);
      return value === undefined ? undefined : toBytes(value, size);
    }
    case 'value':
      return toBytes(location.value, size);
    case 'implicit': {
      const bytes = new Uint8Array(size);
      bytes.set(location.bytes.subarray(0, size));
      return bytes;
    }
    case 'pieces': {
      const result = new Uint8Array(size);
      let bit = 0;
      for (const piece of location.pieces) {
        const bits = Math.min(piece.bits, size * 8 - bit);
        if (bits <= 0) break;
        const length = Math.ceil((piece.bitOffset + bits) / 8);
        const bytes = await readLocation(piece.location, length, context);
        if (!bytes) return undefined;
        copyBits(bytes, piece.bitOffset, result, bit, bits);
        bit += bits;
      }
      return bit >= size * 8 ? result : undefined;
    }
    default:
      return undefined;
  }
}

/** Little-endian bytes of a value; wider sizes are filled with zeros. */
export function toBytes(value: bigint, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size && value !== 0n; i++, value >>= 8n) bytes[i] = Number(value & 0xffn);
  return bytes;
}

function copyBits(from: Uint8Array, fromBit: number, to: Uint8Array, toBit: number, count: number): void {
  if (fromBit % 8 === 0 && toBit % 8 === 0 && count % 8 === 0) {
    to.set(from.subarray(fromBit / 8, (fromBit + count) / 8), toBit / 8);
    return;
  }
  for (let i = 0; i < count; i++) {
    const bit = (from[(fromBit + i) >> 3]! >> ((fromBit + i) & 7)) & 1;
    to[(toBit + i) >> 3]! |= bit << ((toBit + i) & 7);
  }
}
