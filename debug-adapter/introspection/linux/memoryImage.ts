/** A running kernel's image out of guest memory: for kernels that came from elsewhere than a bzImage that can be read. */
import type { Target } from '../../target';
import { turn } from '../slices';

const PIECE = 0x200000;
const PAGE = 4096;
/** What is read at most: more than any kernel's code and constants. */
const MAX_IMAGE = 128 << 20;
/** Pieces without memory that end the image: freed parts leave smaller holes. */
const MAX_HOLE = 8;

/** Where kernels are mapped (Documentation/arch/x86/x86_64/mm.rst; the default split for 32 bits). */
export const KERNEL_HALF = { wide: 0xffffffff80000000n, narrow: 0xc0000000n };
/** Where a 64-bit kernel is linked by default: __START_KERNEL_map + CONFIG_PHYSICAL_START. */
export const DEFAULT_TEXT = 0xffffffff81000000n;

export interface MemoryImage {
  data: Uint8Array;
  /** Address of its first byte, a multiple of 2 MiB. */
  address: bigint;
  wide: boolean;
}

/** An address in the running kernel's code, as far as the processor gives one away: rip, or where system calls go. */
export async function kernelAddress(target: Target, cpu: number): Promise<bigint | undefined> {
  const half = target.bitness(cpu) === 64 ? KERNEL_HALF.wide : KERNEL_HALF.narrow;
  const rip = await target.readRegister(cpu, 'rip');
  if (rip >= half) return rip;
  if (!target.registerInfo().some(({ name }) => name === 'IA32_LSTAR')) return undefined;
  const call = await target.readRegister(cpu, 'IA32_LSTAR');
  return call >= KERNEL_HALF.wide ? call : undefined;
}

/** Reads the memory around an address of the kernel's code, as far as it is mapped; holes are zeros. */
export async function readMemoryImage(target: Target, cpu: number, inside: bigint): Promise<MemoryImage> {
  const wide = inside >= KERNEL_HALF.wide;
  const lowest = wide ? KERNEL_HALF.wide : KERNEL_HALF.narrow;
  const mapped = async (address: bigint): Promise<boolean> =>
    (await target.readMemory('virtual', cpu, address, 1)).length === 1;
  let start = inside - (inside % BigInt(PIECE));
  const bottom = start > lowest + BigInt(MAX_IMAGE) ? start - BigInt(MAX_IMAGE) : lowest;
  while (start > bottom && (await mapped(start - BigInt(PIECE)))) start -= BigInt(PIECE);

  const pieces: Uint8Array[] = [];
  for (let hole = 0; hole < MAX_HOLE && pieces.length < MAX_IMAGE / PIECE;) {
    const piece = new Uint8Array(PIECE);
    const read = await readPiece(target, cpu, start + BigInt(pieces.length * PIECE), piece);
    hole = read ? 0 : hole + 1;
    pieces.push(piece);
    await turn();
  }
  const data = new Uint8Array(pieces.length * PIECE);
  pieces.forEach((piece, i) => data.set(piece, i * PIECE));
  return { data, address: start, wide };
}

/** Fills a piece with what is mapped of it; false when nothing is. */
async function readPiece(target: Target, cpu: number, address: bigint, piece: Uint8Array): Promise<boolean> {
  let any = false;
  for (let at = 0; at < piece.length;) {
    const bytes = await target.readMemory('virtual', cpu, BigInt.asUintN(64, address + BigInt(at)), piece.length - at);
    piece.set(bytes, at);
    any ||= bytes.length > 0;
    at += bytes.length;
    // On to the page behind the hole.
    if (at < piece.length) at = (Math.floor(at / PAGE) + 1) * PAGE;
  }
  return any;
}
