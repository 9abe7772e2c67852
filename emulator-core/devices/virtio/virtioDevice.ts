/**
 * The shape that every virtio device shares: what it is, its virtqueues, its configuration space, and what it does when the driver
 * has made buffers available. Feature negotiation, status, interrupts and rings are the transports' and virtioCore.ts'.
 * Virtual I/O Device (VIRTIO) Version 1.2, "Basic Facilities of a Virtio Device".
 */
import type { Field } from '../../fields';
import type { VirtQueue } from './queue';

/** "Device Types": the IDs of virtio_ids.h, and the PCI class code (24 bits) under which each appears. */
export const VirtioType = {
  net: { id: 1, pciClass: 0x020000 },
  block: { id: 2, pciClass: 0x010000 },
  console: { id: 3, pciClass: 0x078000 },
  rng: { id: 4, pciClass: 0x00ff00 },
  '9p': { id: 9, pciClass: 0x000200 },
  vsock: { id: 19, pciClass: 0x078000 },
  fs: { id: 26, pciClass: 0x018000 },
} as const;
export type VirtioTypeName = keyof typeof VirtioType;

/** Feature bits by name, without the prefix that the headers give them: { BLK_SIZE: 6 }. */
export type FeatureBits = Readonly<Record<string, number>>;

export interface QueueDescription {
  /** The specification's: 'requestq'. */
  readonly name: string;
  /** The largest queue size, a power of two of at most 1024. */
  readonly size: number;
}

export interface VirtioDevice<State = unknown> {
  /** Unique among the machine's devices, lower case: 'rng0'. */
  readonly name: string;
  readonly type: VirtioTypeName;
  /** What the device offers of its own; the transport adds the rings' features. */
  readonly features: FeatureBits;
  readonly queues: readonly QueueDescription[];
  /** The device-specific configuration space, little-endian. What changes in it is part of the state. */
  readonly config: Uint8Array;
  /** The driver writes into the configuration space. Absent: all of it is read-only. */
  writeConfig?(offset: number, data: Uint8Array): void;
  /** The driver is ready (DRIVER_OK): features are final, queues are set up. */
  activate?(): void;
  /** The driver has made buffers available in a queue, or the queue goes on after its turn was over. */
  notify(queue: number): void;
  /** A message has come from outside: see VirtioHost.send. Also when the driver is not ready. */
  receive?(message: Uint8Array): void;
  /** The virtual time that VirtioHost.alarm was given has come. */
  alarm?(): void;
  /** What stands behind the device outside knows nothing any more of what was under way: ask again, or give up. */
  linkLost?(): void;
  /** Power-on, or the driver writes 0 to the device status. */
  reset(): void;
  /** A deep copy of the device's own state; of rings and negotiation the transport takes care. */
  save(): State;
  restore(state: State): void;
  /** What the device is doing, decoded. */
  describe(): Field[];
}

/** What a device gets at construction. */
export interface VirtioHost {
  /** A virtqueue: pop() chains, push() them back. */
  queue(index: number): VirtQueue;
  /** Whether the driver has accepted a feature bit. */
  accepted(bit: number): boolean;
  /** Whether the driver is ready (DRIVER_OK) and the device is not broken. */
  readonly active: boolean;
  /**
   * A message for what stands behind this device outside of the machine. Answers come by receive(), in no certain order. They may never
   * come, after linkLost() at the latest. Nothing is sent while history is replayed: what came then comes again.
   */
  send(message: Uint8Array): void;
  /** Virtual time in ns. */
  now(): number;
  /** Has the device's alarm() called at virtual time `ns`, and at no other; Infinity: never. */
  alarm(ns: number): void;
  /** The configuration space has changed by itself: tells the driver. */
  configChanged(): void;
  /** The driver did what the device cannot go on from: DEVICE_NEEDS_RESET, and nothing more until the driver resets. */
  needsReset(reason: string): void;
}

/** Makes the device for its host; called once. */
export type VirtioFactory = (host: VirtioHost) => VirtioDevice;
