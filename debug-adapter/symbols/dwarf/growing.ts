/** A typed array that grows as it is filled. */
export class Growing<E, T extends { [index: number]: E; length: number; set(from: T): void }> {
  /** The elements, with room behind them. */
  items: T;
  length = 0;

  constructor(private readonly make: (length: number) => T & { [index: number]: E }) {
    this.items = make(64);
  }

  push(value: E): void {
    if (this.length === this.items.length) {
      const larger = this.make(this.length * 2);
      larger.set(this.items);
      this.items = larger;
    }
    this.items[this.length++] = value;
  }
}
