/**
 * Bytes in the order in which they came. Adding and taking cost the same however many wait: pasted text is kept as it came. Pieces are
 * never changed, so a saved state shares them.
 */
export class ByteQueue {
  private pieces: Uint8Array[] = [];
  /** The oldest piece, and how much of it is gone. */
  private first = 0;
  private at = 0;
  private count = 0;

  get length(): number {
    return this.count;
  }

  /** Adds bytes, which must not change from now on. */
  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.pieces.push(bytes);
    this.count += bytes.length;
  }

  /** The oldest bytes, without taking them: at most `count`, and fewer where a piece ends. Empty when none wait. */
  peek(count: number): Uint8Array {
    const piece = this.pieces[this.first];
    return piece ? piece.subarray(this.at, this.at + count) : new Uint8Array(0);
  }

  /** Takes the oldest `count` bytes away. */
  drop(count: number): void {
    this.count = Math.max(0, this.count - count);
    for (let left = count; left > 0 && this.first < this.pieces.length;) {
      const here = Math.min(left, this.pieces[this.first].length - this.at);
      left -= here;
      this.at += here;
      if (this.at < this.pieces[this.first].length) continue;
      this.at = 0;
      this.first++;
    }
    // The pieces that are gone go together, so that each is moved only now and then.
    if (this.first < this.pieces.length && this.first < 256) return;
    this.pieces.splice(0, this.first);
    this.first = 0;
  }

  save(): { pieces: Uint8Array[]; at: number } {
    return { pieces: this.pieces.slice(this.first), at: this.at };
  }

  restore({ pieces, at }: ReturnType<ByteQueue['save']>): void {
    this.pieces = [...pieces];
    this.first = 0;
    this.at = at;
    this.count = pieces.reduce((sum, piece) => sum + piece.length, -at);
  }
}
