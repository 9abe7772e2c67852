/**
 * Which linear addresses a vCPU has cached translations of large pages for, so that INVLPG forgets all of such a page: the caches have
 * an entry for each 4 KiB of it that was used. SDM Vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches".
 */

/** Of them this many are told apart. */
const MAX_PAGES = 4096;
/** log2 of 2 MiB and 1 GiB, in pages of 4 KiB. */
const SHIFT_2M = 9;
const HUGE_PAGE = 1 << 30;

export class LargePages {
  /** Numbers of 2-MByte pieces, and of 1-GByte pages. */
  private readonly pieces = new Set<number>();
  private readonly huge = new Set<number>();
  /** There were more than are told apart. */
  private full = false;
  private lastPiece = -1;

  /** A translation of the address, in two halves, was cached that comes from a page of `size` bytes, above 4 KiB. */
  note(low: number, high: number, size: number): void {
    if (size === HUGE_PAGE) this.add(this.huge, hugeOf(low, high));
    else {
      const piece = pieceOf(low, high);
      if (piece === this.lastPiece) return;
      this.lastPiece = piece;
      this.add(this.pieces, piece);
      // 4-MByte pages have two pieces.
      if (size > 0x200000) this.add(this.pieces, piece % 2 ? piece - 1 : piece + 1);
    }
  }

  private add(set: Set<number>, number: number): void {
    if (set.size < MAX_PAGES) set.add(number);
    else this.full ||= !set.has(number);
  }

  /** Something of a large page that the address lies in may be cached. */
  cover(low: number, high: number): boolean {
    return this.full || this.pieces.has(pieceOf(low, high)) || this.huge.has(hugeOf(low, high));
  }

  /** All translations of the vCPU have been forgotten. */
  clear(): void {
    this.pieces.clear();
    this.huge.clear();
    this.full = false;
    this.lastPiece = -1;
  }
}

function pieceOf(low: number, high: number): number {
  return (high >>> 0) * 2 ** (32 - 12 - SHIFT_2M) + (low >>> (12 + SHIFT_2M));
}

function hugeOf(low: number, high: number): number {
  return (high >>> 0) * 4 + (low >>> 30);
}
