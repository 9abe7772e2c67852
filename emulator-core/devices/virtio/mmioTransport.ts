/**
 * virtio over MMIO, version 2: a page of registers and an interrupt line. VIRTIO 1.2, "Virtio Over MMIO". The guest hears of it
 * by ACPI, or on its command line if its kernel takes that: virtio_mmio.device=4K@0xd0000000:5.
 */
import { hex, type Field } from '../../fields';
import type { Device, IrqLine, MmioHandler } from '../device';
import { QUEUE_AREAS } from './queue';
import { VirtioCore, type VirtioCoreOptions, type VirtioCoreState } from './virtioCore';
import { VirtioType } from './virtioDevice';

/** Between RAM and the PCI window. */
export const VIRTIO_MMIO_BASE = 0xd0000000;
export const VIRTIO_MMIO_SIZE = 0x1000;
/** ISA lines that nothing else uses, one a device. */
export const VIRTIO_MMIO_IRQS: readonly number[] = [5, 6, 7];

const MAGIC = 0x74726976; // 'virt'
const VERSION = 2;
const VENDOR = 0x1af4;
const CONFIG = 0x100;
/** Bits of InterruptStatus. */
const Interrupt = { queue: 1, config: 2 } as const;

export interface VirtioMmioOptions extends Omit<VirtioCoreOptions, 'interrupt'> {
  line: IrqLine;
}

interface VirtioMmioState {
  core: VirtioCoreState;
  deviceFeaturesSel: number;
  driverFeaturesSel: number;
  queueSel: number;
  interruptStatus: number;
}

interface MmioRegister {
  offset: number;
  read?(): number;
  write?(value: number): void;
}

export class VirtioMmio implements Device<VirtioMmioState>, MmioHandler {
  readonly name: string;
  readonly core: VirtioCore;
  private readonly registers: ReadonlyMap<number, MmioRegister>;
  private selects = { deviceFeatures: 0, driverFeatures: 0, queue: 0 };
  private interruptStatus = 0;

  constructor(private readonly options: VirtioMmioOptions) {
    this.core = new VirtioCore({
      ...options,
      interrupt: (queue) =>
        this.setStatus(this.interruptStatus | (queue === undefined ? Interrupt.config : Interrupt.queue)),
    });
    this.name = this.core.device.name;
    this.registers = new Map(this.rows().map((row) => [row.offset, row]));
  }

  /** "MMIO Device Register Layout". */
  private rows(): MmioRegister[] {
    const { core, selects } = this;
    const queue = () => core.selected(selects.queue);
    return [
      { offset: 0x000, read: () => MAGIC },
      { offset: 0x004, read: () => VERSION },
      { offset: 0x008, read: () => VirtioType[core.device.type].id },
      { offset: 0x00c, read: () => VENDOR },
      { offset: 0x010, read: () => core.deviceFeatures(selects.deviceFeatures) },
      { offset: 0x014, write: (value) => (selects.deviceFeatures = value) },
      { offset: 0x020, write: (value) => core.acceptFeatures(selects.driverFeatures, value) },
      { offset: 0x024, write: (value) => (selects.driverFeatures = value) },
      { offset: 0x030, write: (value) => (selects.queue = value) },
      { offset: 0x034, read: () => queue()?.maxSize ?? 0 },
      { offset: 0x038, write: (value) => queue()?.setSize(value) },
      {
        offset: 0x044,
        read: () => (queue()?.state.ready ? 1 : 0),
        write: (value) => {
          if (value === 0) queue()?.reset();
          else if (value === 1) queue()?.enable();
        },
      },
      { offset: 0x050, write: (value) => core.notify(value) },
      { offset: 0x060, read: () => this.interruptStatus },
      { offset: 0x064, write: (value) => this.setStatus(this.interruptStatus & ~value) },
      {
        offset: 0x070,
        read: () => core.deviceStatus,
        write: (value) => {
          core.writeStatus(value & 0xff);
          if (value === 0) this.resetTransport();
        },
      },
      ...QUEUE_AREAS.flatMap((area, i) =>
        [0, 1].map((half) => ({
          offset: 0x080 + 0x10 * i + 4 * half,
          write: (value: number) => queue()?.setAddress(area, half, value),
        })),
      ),
      // No shared memory regions: their length is -1.
      ...[0x0b0, 0x0b4, 0x0b8, 0x0bc].map((offset) => ({ offset, read: () => 0xffffffff })),
      { offset: 0x0fc, read: () => core.generation },
    ];
  }

  readMmio(gpa: number, size: number): number {
    const offset = gpa & (VIRTIO_MMIO_SIZE - 1);
    if (offset >= CONFIG) return this.core.readConfig(offset - CONFIG, size);
    return size === 4 ? (this.registers.get(offset)?.read?.() ?? 0) : 0;
  }

  /** Registers take aligned words only. */
  writeMmio(gpa: number, value: number, size: number): void {
    const offset = gpa & (VIRTIO_MMIO_SIZE - 1);
    if (offset >= CONFIG) this.core.writeConfig(offset - CONFIG, value, size);
    else if (size === 4) this.registers.get(offset)?.write?.(value >>> 0);
  }

  private setStatus(value: number): void {
    this.interruptStatus = value & (Interrupt.queue | Interrupt.config);
    this.options.line.set(this.interruptStatus ? 1 : 0);
  }

  private resetTransport(): void {
    Object.assign(this.selects, { deviceFeatures: 0, driverFeatures: 0, queue: 0 });
    this.setStatus(0);
  }

  reset(): void {
    this.core.reset();
    this.resetTransport();
  }

  save(): VirtioMmioState {
    return {
      core: this.core.save(),
      deviceFeaturesSel: this.selects.deviceFeatures,
      driverFeaturesSel: this.selects.driverFeatures,
      queueSel: this.selects.queue,
      interruptStatus: this.interruptStatus,
    };
  }

  restore(state: VirtioMmioState): void {
    this.core.restore(state.core);
    this.selects.deviceFeatures = state.deviceFeaturesSel;
    this.selects.driverFeatures = state.driverFeaturesSel;
    this.selects.queue = state.queueSel;
    this.interruptStatus = state.interruptStatus;
  }

  describe(): Field[] {
    return [
      { name: 'transport', value: 'MMIO' },
      { name: 'InterruptStatus', value: hex(this.interruptStatus, 32) },
      ...this.core.describe(),
    ];
  }
}
