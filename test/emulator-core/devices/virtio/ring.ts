/** The driver's side of a split virtqueue, after the layouts of VIRTIO 1.2, "Split Virtqueues". */

export const Desc = { next: 1, write: 2, indirect: 4 } as const;

export interface Buffer {
  gpa: number;
  length: number;
  write?: boolean;
}

export class DriverRing {
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
  private next = 0;
  private free = 0;
  private seen = 0;
  private readonly view: DataView;

  /** Rings of `size` entries from `base` on: descriptors, then the available and the used ring, 4 KiB aligned. */
  constructor(
    readonly memory: Uint8Array,
    readonly base: number,
    readonly size: number,
  ) {
    this.view = new DataView(memory.buffer, memory.byteOffset, memory.length);
    this.descriptors = base;
    this.available = base + 0x4000;
    this.used = base + 0x5000;
    memory.fill(0, base, base + 0x8000);
  }

  get usedIndex(): number {
    return this.view.getUint16(this.used + 2, true);
  }
  set availableFlags(value: number) {
    this.view.setUint16(this.available, value, true);
  }
  set availableIndex(value: number) {
    this.view.setUint16(this.available + 2, value, true);
  }
  set usedEvent(value: number) {
    this.view.setUint16(this.available + 4 + 2 * this.size, value, true);
  }
  get availableEvent(): number {
    return this.view.getUint16(this.used + 4 + 8 * this.size, true);
  }

  describe(
    index: number,
    gpa: number | bigint,
    length: number,
    flags: number,
    next = 0,
    table = this.descriptors,
  ): void {
    const at = table + 16 * index;
    this.view.setBigUint64(at, BigInt(gpa), true);
    this.view.setUint32(at + 8, length, true);
    this.view.setUint16(at + 12, flags, true);
    this.view.setUint16(at + 14, next, true);
  }

  /** Makes the chain that begins with a descriptor available. */
  offer(head: number): void {
    this.view.setUint16(this.available + 4 + 2 * (this.next % this.size), head, true);
    this.next = (this.next + 1) & 0xffff;
    this.availableIndex = this.next;
  }

  /** A chain of direct descriptors; returns its head. */
  add(...buffers: Buffer[]): number {
    const head = this.free;
    this.fill(buffers, head, this.descriptors, this.size);
    this.free = (head + buffers.length) % this.size;
    this.offer(head);
    return head;
  }

  /** One indirect descriptor, whose table goes to `table`. */
  addIndirect(table: number, ...buffers: Buffer[]): number {
    const head = this.free;
    this.fill(buffers, 0, table, 0x10000);
    this.describe(head, table, 16 * buffers.length, Desc.indirect);
    this.free = (head + 1) % this.size;
    this.offer(head);
    return head;
  }

  private fill(buffers: Buffer[], first: number, table: number, count: number): void {
    buffers.forEach(({ gpa, length, write }, i) => {
      const more = i < buffers.length - 1;
      const flags = (write ? Desc.write : 0) | (more ? Desc.next : 0);
      this.describe((first + i) % count, gpa, length, flags, more ? (first + i + 1) % count : 0, table);
    });
  }

  /** The used elements that are new: descriptor and length. */
  completed(): { id: number; length: number }[] {
    const done = [];
    for (; this.seen !== this.usedIndex; this.seen = (this.seen + 1) & 0xffff) {
      const at = this.used + 4 + 8 * (this.seen % this.size);
      done.push({ id: this.view.getUint32(at, true), length: this.view.getUint32(at + 4, true) });
    }
    return done;
  }
}
