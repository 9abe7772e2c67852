/**
 * A virtio driver over PCI as VIRTIO 1.2 describes it ("Virtio Over PCI Bus", "Driver Requirements: Device Initialization"): finds the
 * structures by their capabilities, negotiates, sets up queues.
 */
import { rig, type Rig } from '../rig';
import type { PlatformOptions } from '../../../../emulator-core/devices/platform';
import type { VirtioSlot } from '../../../../emulator-core/devices/virtio/attach';
import { misfit, shapeOf, type Shape } from '../../../../emulator-core/snapshot/shape';
import { DriverRing } from './ring';

export const ECAM = 0xe8000000;

export interface PciCap {
  type: number;
  bar: number;
  offset: number;
  length: number;
  /** Offset in configuration space. */
  at: number;
}

export class PciDriver {
  readonly r: Rig;
  readonly memory: Uint8Array;
  readonly caps: PciCap[] = [];
  readonly rings: DriverRing[] = [];
  private readonly shape: Shape;

  /** @param device number on bus 0 */
  constructor(
    slots: readonly VirtioSlot[],
    readonly device = 4,
    options: Partial<PlatformOptions> = {},
  ) {
    this.memory = options.memory ?? new Uint8Array(16 << 20);
    this.r = rig({ memory: this.memory, virtio: slots, ...options });
    this.shape = shapeOf(this.r.platform.save(), 'platform');
    for (let at = this.config(0x34, 1); at; at = this.config(at + 1, 1)) {
      if (this.config(at, 1) !== 9) continue;
      const [type, bar] = [this.config(at + 3, 1), this.config(at + 4, 1)];
      this.caps.push({ type, bar, offset: this.config(at + 8, 4), length: this.config(at + 12, 4), at });
    }
  }

  /** Why a snapshot would not take the platform as it is now; undefined: it would. */
  get misfit(): string | undefined {
    return misfit(this.r.platform.save(), this.shape, 'platform');
  }

  private ecam(offset: number): number {
    return ECAM + this.device * 0x8000 + offset;
  }
  config(offset: number, size: number): number {
    return this.r.platform.bus.readMmio(this.ecam(offset), size);
  }
  setConfig(offset: number, value: number, size: number): void {
    this.r.platform.bus.writeMmio(this.ecam(offset), value, size);
  }
  capability(id: number): number {
    for (let at = this.config(0x34, 1); at; at = this.config(at + 1, 1)) if (this.config(at, 1) === id) return at;
    return 0;
  }

  bar(index: number): number {
    return this.config(0x10 + 4 * index, 4) & ~15;
  }
  private place(type: number): number {
    const cap = this.caps.find((each) => each.type === type)!;
    return (this.bar(cap.bar) >>> 0) + cap.offset;
  }

  read(type: number, offset: number, size: number): number {
    return this.r.platform.bus.readMmio(this.place(type) + offset, size);
  }
  write(type: number, offset: number, value: number, size: number): void {
    this.r.platform.bus.writeMmio(this.place(type) + offset, value, size);
  }
  common(offset: number, size: number): number {
    return this.read(1, offset, size);
  }
  setCommon(offset: number, value: number, size: number): void {
    this.write(1, offset, value, size);
  }

  get status(): number {
    return this.common(20, 1);
  }
  set status(value: number) {
    this.setCommon(20, value, 1);
  }

  features(): bigint {
    let bits = 0n;
    for (const word of [0, 1]) {
      this.setCommon(0, word, 4);
      bits |= BigInt(this.common(4, 4)) << BigInt(32 * word);
    }
    return bits;
  }
  accept(bits: bigint): void {
    for (const word of [0, 1]) {
      this.setCommon(8, word, 4);
      this.setCommon(12, Number((bits >> BigInt(32 * word)) & 0xffffffffn), 4);
    }
  }

  /** Everything up to DRIVER_OK, with queue i's rings at 1 MiB + i * 64 KiB. */
  start(mask = ~0n, queueSize?: number): this {
    this.status = 0;
    this.status = 1;
    this.status = 3;
    this.accept(this.features() & mask);
    this.status = 11;
    const count = this.common(18, 2);
    for (let i = 0; i < count; i++) {
      this.setCommon(22, i, 2);
      const size = queueSize ?? this.common(24, 2);
      const ring = new DriverRing(this.memory, 0x100000 + i * 0x10000, size);
      this.rings[i] = ring;
      this.setCommon(24, size, 2);
      this.setCommon(26, i + 1, 2);
      [ring.descriptors, ring.available, ring.used].forEach((gpa, n) => {
        this.setCommon(32 + 8 * n, gpa, 4);
        this.setCommon(36 + 8 * n, 0, 4);
      });
      this.setCommon(28, 1, 2);
    }
    this.status = 15;
    return this;
  }

  kick(queue: number): void {
    this.setCommon(22, queue, 2);
    this.write(2, this.common(30, 2) * 4, queue, 2);
  }

  /** The device's description, flattened: name -> value and text. */
  described(name: string): Map<string, string> {
    const out = new Map<string, string>();
    const device = this.r.platform.devices.find((each) => each.name === name)!;
    for (const field of device.describe())
      out.set(field.name, field.text ? `${field.value} ${field.text}` : field.value);
    return out;
  }
}
