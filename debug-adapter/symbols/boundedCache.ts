/** What has been made for keys, the longest unused forgotten first once all of it weighs more than a limit. */
export class BoundedCache<K, V> {
  /** The longest unused first. */
  private readonly entries = new Map<K, { value: V; weight: number }>();
  private total = 0;
  private last: { key: K; value: V } | undefined;

  /**
   * @param limit what all entries may weigh together; the one used last stays, whatever it weighs
   * @param make throws: nothing is kept
   */
  constructor(
    private readonly limit: number,
    private readonly make: (key: K) => V,
    private readonly weigh: (value: V, key: K) => number = () => 1,
  ) {}

  get(key: K): V {
    if (this.last?.key === key) return this.last.value;
    let entry = this.entries.get(key);
    if (entry) this.entries.delete(key);
    else {
      const value = this.make(key);
      entry = { value, weight: this.weigh(value, key) };
      this.total += entry.weight;
    }
    this.entries.set(key, entry);
    for (const [oldest, { weight }] of this.entries) {
      if (this.total <= this.limit || oldest === key) break;
      this.entries.delete(oldest);
      this.total -= weight;
    }
    this.last = { key, value: entry.value };
    return entry.value;
  }
}
