/**
 * A split virtqueue: descriptor chains out of the driver's rings, and used elements back. VIRTIO 1.2, "Split Virtqueues". Rings
 * and descriptors are the guest's: whatever cannot be followed breaks the device, with a reason, and nothing is thrown.
 */
import type { GuestMemory } from '../guestMemory';

/** Buffers of a chain, which lie within guest memory. */
export interface Segment {
  readonly gpa: number;
  readonly length: number;
}

export interface QueueState {
  /** Queue size that the driver chose. */
  size: number;
  ready: boolean;
  /** Guest-physical addresses of the descriptor table, the driver area (available ring) and the device area (used ring). */
  descriptors: bigint;
  driver: bigint;
  device: bigint;
  /** Indices of the next available and the next used element, 16 bits, free-running. */
  available: number;
  used: number;
  /** Bytes that this turn may still hand out. */
  share: number;
}

/** A queue's areas in guest memory: VIRTIO 1.2's names for descriptor table, available ring and used ring. */
export type QueueArea = 'descriptors' | 'driver' | 'device';
export const QUEUE_AREAS: readonly QueueArea[] = ['descriptors', 'driver', 'device'];

/** What a queue asks of the device core around it. */
export interface QueueHost {
  readonly memory: GuestMemory;
  /** The driver is ready and the device is not broken. */
  readonly active: boolean;
  readonly indirect: boolean;
  readonly eventIndex: boolean;
  /** Interrupts the driver for this queue. */
  interrupt(queue: number): void;
  broken(reason: string): void;
  /** pop() has given this turn's share of bytes: notify the device again, a little later. */
  later(queue: number): void;
}

const Flag = { next: 1, write: 2, indirect: 4 } as const;
const AVAIL_NO_INTERRUPT = 1;
const DESCRIPTOR = 16;
/** "the total length of a descriptor chain must not exceed 2^32 bytes" ("The Virtqueue Descriptor Table"). */
const MAX_CHAIN_BYTES = 2 ** 32;
/** Bytes of buffers that one notification hands out; the rest waits for the next turn, so that the machine keeps answering. */
const TURN_BYTES = 4 << 20;

/** Buffers that the driver has made available: first those for the device to read, then those for it to write. */
export class Chain {
  readonly readableLength: number;
  readonly writableLength: number;

  constructor(
    private readonly memory: GuestMemory,
    /** Index of the first descriptor, by which the driver knows the chain. */
    readonly head: number,
    readonly readable: readonly Segment[],
    readonly writable: readonly Segment[],
  ) {
    this.readableLength = total(readable);
    this.writableLength = total(writable);
  }

  /** A copy of at most `length` bytes of the readable buffers from `offset` on. */
  read(offset: number, length: number): Uint8Array {
    const out = new Uint8Array(Math.max(0, Math.min(length, this.readableLength - offset)));
    each(this.readable, offset, out.length, (gpa, at, count) => out.set(this.memory.read(gpa, count), at));
    return out;
  }

  /** Writes into the writable buffers from `offset` on; what does not fit is left out. Returns how many bytes were written. */
  write(offset: number, data: Uint8Array): number {
    const length = Math.max(0, Math.min(data.length, this.writableLength - offset));
    each(this.writable, offset, length, (gpa, at, count) => this.memory.write(gpa, data.subarray(at, at + count)));
    return length;
  }
}

function total(segments: readonly Segment[]): number {
  return segments.reduce((sum, segment) => sum + segment.length, 0);
}

/** The parts of `length` bytes from `offset` on, as they lie in memory: address, offset in the result, length. */
function each(
  segments: readonly Segment[],
  offset: number,
  length: number,
  visit: (gpa: number, at: number, count: number) => void,
): void {
  let skip = offset;
  let at = 0;
  for (const segment of segments) {
    if (at >= length) return;
    if (skip >= segment.length) {
      skip -= segment.length;
      continue;
    }
    const count = Math.min(segment.length - skip, length - at);
    if (count > 0) visit(segment.gpa + skip, at, count);
    skip = 0;
    at += count;
  }
}

export class VirtQueue {
  state: QueueState;
  /** @param maxSize a power of two of at most 1024 */
  constructor(
    readonly index: number,
    readonly maxSize: number,
    private readonly host: QueueHost,
  ) {
    this.state = this.initial();
  }

  reset(): void {
    this.state = this.initial();
  }

  private initial(): QueueState {
    const { maxSize: size } = this;
    return { size, ready: false, descriptors: 0n, driver: 0n, device: 0n, available: 0, used: 0, share: TURN_BYTES };
  }

  /** The driver chooses a size; too late once the queue is enabled, whose rings have been checked. */
  setSize(size: number): void {
    if (!this.state.ready) this.state.size = size;
  }

  /** 32 bits of a ring's address, low (0) or high (1). */
  address(area: QueueArea, half: number): number {
    return Number((this.state[area] >> BigInt(32 * half)) & 0xffffffffn);
  }

  /** The driver places a ring, half an address at a time; too late once the queue is enabled. */
  setAddress(area: QueueArea, half: number, value: number): void {
    const { state } = this;
    const shift = BigInt(32 * half);
    if (!state.ready) state[area] = (state[area] & ~(0xffffffffn << shift)) | (BigInt(value >>> 0) << shift);
  }

  /** The driver enables the queue with what it has written: false, and the device is broken, if its rings cannot be. */
  enable(): boolean {
    const { size, ready, descriptors, driver, device } = this.state;
    if (ready) return true;
    if (size === 0 || size > this.maxSize || size & (size - 1)) {
      return this.fail(`queue size ${size}, expected a power of two of at most ${this.maxSize}`);
    }
    const areas: [what: string, at: bigint, length: number, alignment: number][] = [
      ['descriptor table', descriptors, DESCRIPTOR * size, 16],
      ['driver area', driver, 6 + 2 * size, 2],
      ['device area', device, 6 + 8 * size, 4],
    ];
    for (const [what, at, length, alignment] of areas) {
      const where = `${what} at 0x${at.toString(16)}`;
      if (at % BigInt(alignment) !== 0n) return this.fail(`${where}, expected a multiple of ${alignment}`);
      if (!this.inside(at, length)) return this.fail(`${where}: its ${length} bytes do not lie in memory`);
    }
    this.state.ready = true;
    return true;
  }

  /** A new turn: the device is notified. */
  beginTurn(): void {
    this.state.share = TURN_BYTES;
  }

  /** How many chains wait, as the driver's ring says; undefined when that cannot be. */
  get waiting(): number | undefined {
    const { state } = this;
    if (!state.ready) return 0;
    const count = (this.word(Number(state.driver) + 2) - state.available) & 0xffff;
    return count <= state.size ? count : undefined;
  }

  /** The next chain that the driver has made available, or undefined when there is none (now). */
  pop(): Chain | undefined {
    const { state, host } = this;
    if (!state.ready || !host.active) return undefined;
    const { waiting } = this;
    if (waiting === undefined) {
      const index = this.word(Number(state.driver) + 2);
      this.fail(`available index ${index} is more than the queue size ${state.size} ahead of ${state.available}`);
      return undefined;
    }
    if (waiting === 0) {
      this.expectNext();
      return undefined;
    }
    if (state.share <= 0) {
      host.later(this.index);
      return undefined;
    }
    const head = this.word(Number(state.driver) + 4 + 2 * (state.available & (state.size - 1)));
    const chain = this.follow(head);
    if (!chain) return undefined;
    state.available = (state.available + 1) & 0xffff;
    // Empty chains and descriptors are work, too.
    state.share -= chain.readableLength + chain.writableLength + 4096;
    return chain;
  }

  /** Puts the chain that pop() gave last back: the next pop() gives it again. For a device that has nothing for it yet. */
  unpop(): void {
    this.state.available = (this.state.available - 1) & 0xffff;
  }

  /** A chain that pop() has given, made anew of what was kept of it: for a device that answers later. */
  revive(head: number, readable: readonly Segment[], writable: readonly Segment[]): Chain {
    return new Chain(this.host.memory, head, readable, writable);
  }

  /**
   * Returns a chain to the driver and interrupts it if it wants that. Chains may be returned in any order.
   * @param written bytes written into the chain's writable buffers, from the first on
   */
  push(head: Chain | number, written: number): void {
    const { state, host } = this;
    if (!state.ready || !host.active) return;
    const id = typeof head === 'number' ? head : head.head;
    const used = Number(state.device);
    const element = new Uint8Array(8);
    const view = new DataView(element.buffer);
    view.setUint32(0, id, true);
    view.setUint32(4, written, true);
    host.memory.write(used + 4 + 8 * (state.used & (state.size - 1)), element);
    const before = state.used;
    state.used = (before + 1) & 0xffff;
    this.writeWord(used + 2, state.used);
    if (this.wanted(before)) host.interrupt(this.index);
  }

  /** "Used Buffer Notification Suppression": whether the driver wants to hear of the element at `index`. */
  private wanted(index: number): boolean {
    const { state, host } = this;
    const driver = Number(state.driver);
    if (host.eventIndex) return this.word(driver + 4 + 2 * state.size) === index;
    return (this.word(driver) & AVAIL_NO_INTERRUPT) === 0;
  }

  /** With VIRTIO_F_EVENT_IDX the driver notifies once it makes this element available. */
  private expectNext(): void {
    const { state, host } = this;
    if (!host.eventIndex) return;
    const at = Number(state.device) + 4 + 8 * state.size;
    if (this.word(at) !== state.available) this.writeWord(at, state.available);
  }

  private follow(head: number): Chain | undefined {
    const { state, host } = this;
    let table = Number(state.descriptors);
    let count = state.size;
    let indirect = false;
    const readable: Segment[] = [];
    const writable: Segment[] = [];
    let bytes = 0;
    let index = head;
    for (let steps = 0; ; steps++) {
      const name = `${indirect ? 'indirect descriptor' : 'descriptor'} ${index}`;
      if (index >= count) return this.broken(`${name} is none of ${count}`);
      if (steps >= count || readable.length + writable.length >= this.maxSize) {
        return this.broken(`the chain from descriptor ${head} is a loop, or longer than the queue`);
      }
      const data = host.memory.read(table + DESCRIPTOR * index, DESCRIPTOR);
      const view = new DataView(data.buffer, data.byteOffset, DESCRIPTOR);
      const address = view.getBigUint64(0, true);
      const length = view.getUint32(8, true);
      const flags = view.getUint16(12, true);
      if (length === 0) return this.broken(`${name} has length 0`);
      if (!this.inside(address, length)) {
        return this.broken(`${name}: ${length} bytes at 0x${address.toString(16)} do not lie in memory`);
      }
      if (flags & Flag.indirect) {
        if (!host.indirect) return this.broken(`${name} is indirect, which was not negotiated`);
        if (indirect) return this.broken(`${name} is indirect inside of an indirect table`);
        if (flags & Flag.next) return this.broken(`${name} is indirect and has a next one`);
        if (length % DESCRIPTOR) return this.broken(`${name}: an indirect table of ${length} bytes`);
        table = Number(address);
        count = length / DESCRIPTOR;
        indirect = true;
        index = 0;
        steps = -1;
        continue;
      }
      bytes += length;
      if (bytes > MAX_CHAIN_BYTES) return this.broken(`the chain from descriptor ${head} is longer than 2^32 bytes`);
      const segment = { gpa: Number(address), length };
      if (flags & Flag.write) writable.push(segment);
      else if (writable.length > 0) return this.broken(`${name} is to be read, behind one to be written`);
      else readable.push(segment);
      if (!(flags & Flag.next)) return new Chain(host.memory, head, readable, writable);
      index = view.getUint16(14, true);
    }
  }

  private inside(address: bigint, length: number): boolean {
    return address + BigInt(length) <= BigInt(this.host.memory.size);
  }

  private word(gpa: number): number {
    const data = this.host.memory.read(gpa, 2);
    return data[0] | (data[1] << 8);
  }

  private writeWord(gpa: number, value: number): void {
    this.host.memory.write(gpa, Uint8Array.of(value & 0xff, value >> 8));
  }

  private fail(reason: string): false {
    this.host.broken(`queue ${this.index}: ${reason}`);
    return false;
  }

  private broken(reason: string): undefined {
    this.fail(reason);
    return undefined;
  }
}
