/**
 * What virtio devices have in common behind any transport: device status, feature negotiation, virtqueues, and whose turn it is.
 * VIRTIO 1.2, "Device Status Field", "Feature Bits", "Device Initialization".
 */
import { hex, type Field } from '../../fields';
import type { EventQueue } from '../../time/eventQueue';
import type { VirtualClock } from '../device';
import type { GuestMemory } from '../guestMemory';
import { littleEndianBytes, readLittleEndian } from '../littleEndian';
import { VirtQueue, type QueueHost, type QueueState } from './queue';
import { VirtioType, type VirtioDevice, type VirtioFactory, type VirtioHost } from './virtioDevice';

export const Status = {
  ACKNOWLEDGE: 0x01,
  DRIVER: 0x02,
  DRIVER_OK: 0x04,
  FEATURES_OK: 0x08,
  DEVICE_NEEDS_RESET: 0x40,
  FAILED: 0x80,
} as const;

/** "Reserved Feature Bits" that this implementation offers for every device. */
export const TransportFeature = { RING_INDIRECT_DESC: 28, RING_EVENT_IDX: 29, VERSION_1: 32 } as const;

/** Virtual time until a queue goes on after its turn: enough for others to run in between. */
const TURN_NS = 10_000;

export interface VirtioCoreOptions {
  memory: GuestMemory;
  events: EventQueue;
  clock: VirtualClock;
  create: VirtioFactory;
  /** A device's message for the outside. Absent: there is nobody. */
  send?(device: string, message: Uint8Array): void;
  /** Tells the driver: buffers of a queue are used, or (no queue) the configuration has changed. */
  interrupt(queue?: number): void;
}

export interface VirtioCoreState {
  status: number;
  driverFeatures: bigint;
  /** Counts changes of the configuration space, 8 bits. */
  generation: number;
  /** Why the device needs a reset. */
  reason: string;
  queues: QueueState[];
  /** Queues that go on when the event is due, one bit each. */
  later: number;
  device: unknown;
}

export class VirtioCore implements VirtioHost {
  readonly device: VirtioDevice;
  readonly queues: readonly VirtQueue[];
  /** All feature bits offered. */
  readonly offered: bigint;
  private readonly featureNames: ReadonlyMap<number, string>;
  private status = 0;
  private features = 0n;
  private generationCount = 0;
  private reason = '';
  private waiting = 0;
  private readonly event: string;
  private readonly alarmEvent: string;

  constructor(private readonly options: VirtioCoreOptions) {
    const queues: VirtQueue[] = [];
    this.queues = queues;
    this.device = options.create(this);
    const host = this.queueHost();
    this.device.queues.forEach(({ size }, i) => queues.push(new VirtQueue(i, size, host)));
    const bits = { ...this.device.features, ...TransportFeature };
    this.featureNames = new Map(Object.entries(bits).map(([name, bit]) => [bit, name]));
    this.offered = Object.values(bits).reduce((all, bit) => all | (1n << BigInt(bit)), 0n);
    this.event = `${this.device.name}.queues`;
    options.events.register(this.event, () => this.goOn());
    this.alarmEvent = `${this.device.name}.alarm`;
    options.events.register(this.alarmEvent, () => this.alarmed());
  }

  private queueHost(): QueueHost {
    const core = this as VirtioCore;
    return {
      memory: this.options.memory,
      get active() {
        return core.active;
      },
      get indirect() {
        return core.accepted(TransportFeature.RING_INDIRECT_DESC);
      },
      get eventIndex() {
        return core.accepted(TransportFeature.RING_EVENT_IDX);
      },
      interrupt: (queue) => this.options.interrupt(queue),
      broken: (reason) => this.needsReset(reason),
      later: (queue) => {
        this.waiting |= 1 << queue;
        this.options.events.at(this.event, this.options.clock.now() + TURN_NS);
      },
    };
  }

  // ---- VirtioHost ------------------------------------------------------------------------------------------------

  queue(index: number): VirtQueue {
    return this.queues[index];
  }

  accepted(bit: number): boolean {
    return (this.status & Status.FEATURES_OK) !== 0 && ((this.features >> BigInt(bit)) & 1n) === 1n;
  }

  get active(): boolean {
    return (this.status & (Status.DRIVER_OK | Status.DEVICE_NEEDS_RESET)) === Status.DRIVER_OK;
  }

  configChanged(): void {
    this.generationCount = (this.generationCount + 1) & 0xff;
    if (this.status & Status.DRIVER_OK) this.options.interrupt();
  }

  now(): number {
    return this.options.clock.now();
  }

  alarm(ns: number): void {
    this.options.events.at(this.alarmEvent, ns);
  }

  send(message: Uint8Array): void {
    this.options.send?.(this.device.name, message);
  }

  /** Further reasons after the first are not kept. */
  needsReset(reason: string): void {
    if (this.status & Status.DEVICE_NEEDS_RESET) return;
    this.status |= Status.DEVICE_NEEDS_RESET;
    this.reason = reason;
    if (this.status & Status.DRIVER_OK) this.options.interrupt();
  }

  /** The queue that a transport's select register names, if there is one. */
  selected(index: number): VirtQueue | undefined {
    return this.queues[index] as VirtQueue | undefined;
  }

  // ---- what transports' registers do -----------------------------------------------------------------------------

  get deviceStatus(): number {
    return this.status;
  }

  /** A write of 0 resets. Bits are only ever added; FEATURES_OK stays clear when the driver's choice cannot be. */
  writeStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    const before = this.status;
    let added = value & ~before & (Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK | Status.FAILED);
    if (added & Status.FEATURES_OK && !this.acceptable()) added &= ~Status.FEATURES_OK;
    this.status = before | added;
    if (value & Status.DRIVER_OK && !(before & Status.DRIVER_OK) && this.status & Status.FEATURES_OK) {
      this.status |= Status.DRIVER_OK;
      if (this.active) this.device.activate?.();
    }
  }

  get generation(): number {
    return this.generationCount;
  }

  /** 32 of the features offered. */
  deviceFeatures(select: number): number {
    return select < 2 ? Number((this.offered >> BigInt(32 * select)) & 0xffffffffn) : 0;
  }

  driverFeatures(select: number): number {
    return select < 2 ? Number((this.features >> BigInt(32 * select)) & 0xffffffffn) : 0;
  }

  /** 32 of the features that the driver accepts; too late after FEATURES_OK. */
  acceptFeatures(select: number, value: number): void {
    if (select > 1 || this.status & Status.FEATURES_OK) return;
    const shift = BigInt(32 * select);
    this.features = (this.features & ~(0xffffffffn << shift)) | (BigInt(value >>> 0) << shift);
  }

  /** Bytes of the configuration space; zeros behind its end. */
  readConfig(offset: number, size: number): number {
    return readLittleEndian(this.device.config, offset, size);
  }

  writeConfig(offset: number, value: number, size: number): void {
    if (offset + size > this.device.config.length) return;
    this.device.writeConfig?.(offset, Uint8Array.from(littleEndianBytes(value, size)));
  }

  /** The driver rings a queue's bell. */
  notify(queue: number): void {
    if (queue >= this.queues.length || !this.active) return;
    this.queues[queue].beginTurn();
    this.device.notify(queue);
  }

  /** From outside, for the device. */
  receive(message: Uint8Array): void {
    this.beginTurns();
    this.device.receive?.(message);
  }

  linkLost(): void {
    this.beginTurns();
    this.device.linkLost?.();
  }

  private alarmed(): void {
    this.beginTurns();
    this.device.alarm?.();
  }

  private beginTurns(): void {
    for (const queue of this.queues) queue.beginTurn();
  }

  private goOn(): void {
    const queues = this.waiting;
    this.waiting = 0;
    for (let i = 0; i < this.queues.length; i++) if (queues & (1 << i)) this.notify(i);
  }

  private acceptable(): boolean {
    const version1 = 1n << BigInt(TransportFeature.VERSION_1);
    return (this.features & ~this.offered) === 0n && (this.features & version1) !== 0n;
  }

  // ---- state -----------------------------------------------------------------------------------------------------

  reset(): void {
    this.status = 0;
    this.features = 0n;
    this.generationCount = 0;
    this.reason = '';
    this.waiting = 0;
    this.options.events.cancel(this.event);
    this.options.events.cancel(this.alarmEvent);
    for (const queue of this.queues) queue.reset();
    this.device.reset();
  }

  save(): VirtioCoreState {
    return {
      status: this.status,
      driverFeatures: this.features,
      generation: this.generationCount,
      reason: this.reason,
      queues: this.queues.map(({ state }) => ({ ...state })),
      later: this.waiting,
      device: this.device.save(),
    };
  }

  /** Events come back with the event queue. */
  restore(state: VirtioCoreState): void {
    this.status = state.status;
    this.features = state.driverFeatures;
    this.generationCount = state.generation;
    this.reason = state.reason;
    this.waiting = state.later;
    this.queues.forEach((queue, i) => (queue.state = { ...state.queues[i] }));
    this.device.restore(state.device);
  }

  describe(): Field[] {
    const names = Object.entries(Status).flatMap(([name, bit]) => (this.status & bit ? [name] : []));
    const { id } = VirtioType[this.device.type];
    const fields: Field[] = [
      { name: 'device type', value: String(id), text: this.device.type },
      { name: 'status', value: hex(this.status, 8), text: names.join(' ') },
    ];
    if (this.reason) fields.push({ name: 'needs reset', value: this.reason });
    fields.push(
      { name: 'features offered', value: hex(this.offered, 64), text: this.named(this.offered) },
      { name: 'features accepted', value: hex(this.features, 64), text: this.named(this.features) },
      ...this.queues.map((queue) => this.describeQueue(queue)),
      ...this.device.describe(),
    );
    return fields;
  }

  private named(features: bigint): string {
    const bits = Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => (features >> BigInt(bit)) & 1n);
    return bits.map((bit) => this.featureNames.get(bit) ?? `bit ${bit}`).join(' ');
  }

  private describeQueue({ index, state, waiting }: VirtQueue): Field {
    const { name } = this.device.queues[index];
    if (!state.ready) return { name: `queue ${index}`, value: 'off', text: name };
    const pending = waiting === undefined ? 'available index out of range' : `${waiting} waiting`;
    return {
      name: `queue ${index}`,
      value: `${state.size} entries`,
      text: `${name}, ${pending}`,
      children: [
        { name: 'descriptor table', value: hex(state.descriptors, 64) },
        { name: 'driver area', value: hex(state.driver, 64), text: 'available ring' },
        { name: 'device area', value: hex(state.device, 64), text: 'used ring' },
        { name: 'next available', value: hex(state.available, 16) },
        { name: 'next used', value: hex(state.used, 16) },
      ],
    };
  }
}
