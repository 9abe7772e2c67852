/**
 * virtio over PCI, without the legacy interface: structures in one memory BAR that vendor capabilities point to, MSI-X in
 * another, INTA# when MSI-X is off. VIRTIO 1.2, "Virtio Over PCI Bus". Not modelled: the command register's bus master bit does
 * not keep the device from memory.
 */
import { hex, type Field } from '../../fields';
import type { Device, IrqLine, MmioHandler } from '../device';
import { littleEndianBytes } from '../littleEndian';
import { Msix, type MsixState, type SendMessage } from '../msix';
import { PciCapability, PciCapabilityId } from '../pciCapability';
import { PciFunction } from '../pciFunction';
import { QUEUE_AREAS } from './queue';
import { VirtioCore, type VirtioCoreOptions, type VirtioCoreState } from './virtioCore';
import { VirtioType } from './virtioDevice';

const VENDOR = 0x1af4;
const FIRST_DEVICE = 0x1040;
const FIRST_SUBSYSTEM = 0x40;
const MSIX_BAR = 1;
const BAR = 4;
const BAR_SIZE = 0x4000;
const NO_VECTOR = 0xffff;
const INTX_OFF = 0x400;
const STATUS_INTERRUPT = 0x08;
/** Bits of the ISR status byte. */
const Isr = { queue: 1, config: 2 } as const;

/** "Virtio Structure PCI Capabilities": the structures in the BAR, as virtio_pci_cap's cfg_type numbers them. */
const STRUCTURES = {
  common: { type: 1, offset: 0x0000, length: 0x38 },
  notify: { type: 2, offset: 0x3000, length: 0x1000 },
  isr: { type: 3, offset: 0x1000, length: 0x1 },
  device: { type: 4, offset: 0x2000, length: 0x1000 },
} as const;
const PCI_ACCESS = 5;
/** Bytes between two queues' bells. */
const NOTIFY_MULTIPLIER = 4;

export interface VirtioPciOptions extends Omit<VirtioCoreOptions, 'interrupt'> {
  message: SendMessage;
  /** INTA# of the function. */
  line: IrqLine;
}

interface VirtioPciState {
  core: VirtioCoreState;
  msix: MsixState;
  deviceFeatureSelect: number;
  driverFeatureSelect: number;
  queueSelect: number;
  configVector: number;
  queueVectors: number[];
  isr: number;
}

/** A field of the common configuration structure. */
interface CommonField {
  offset: number;
  size: 1 | 2 | 4;
  read(): number;
  write?(value: number): void;
}

export class VirtioPci implements Device<VirtioPciState>, MmioHandler {
  readonly name: string;
  readonly function: PciFunction;
  readonly core: VirtioCore;
  private readonly msix: Msix;
  private readonly access: PciCapability;
  private readonly common: readonly CommonField[];
  private selects = { deviceFeature: 0, driverFeature: 0, queue: 0 };
  private configVector = NO_VECTOR;
  private queueVectors: number[];
  private isr = 0;

  constructor(private readonly options: VirtioPciOptions) {
    this.core = new VirtioCore({ ...options, interrupt: (queue) => this.interrupt(queue) });
    const { device, queues } = this.core;
    this.name = device.name;
    this.queueVectors = queues.map(() => NO_VECTOR);
    this.msix = new Msix(queues.length + 1, MSIX_BAR, options.message, () => this.driveLine());
    this.common = this.commonFields();
    const length = device.config.length;
    this.access = structure('PCI configuration access', PCI_ACCESS, 0, 0, {
      extra: [0, 0, 0, 0],
      writable: [...Array<number>(2).fill(0), 0xff, 0, 0, 0, ...Array<number>(12).fill(0xff)],
      reading: (offset) => this.readThrough(offset),
      written: (offset) => this.writeThrough(offset),
    });
    const { id, pciClass } = VirtioType[device.type];
    this.function = new PciFunction({
      title: `virtio ${device.type}`,
      vendor: VENDOR,
      device: FIRST_DEVICE + id,
      revision: 1,
      classCode: pciClass,
      subsystem: { vendor: VENDOR, device: FIRST_SUBSYSTEM + id },
      interruptPin: 1,
      bars: [
        undefined,
        { kind: 'memory', size: Msix.barSize, handler: this.msix },
        undefined,
        undefined,
        { kind: 'memory', size: BAR_SIZE, handler: this, prefetchable: true, wide: true },
      ],
      capabilities: [
        this.msix.capability,
        structure('common configuration', STRUCTURES.common.type, STRUCTURES.common.offset, STRUCTURES.common.length),
        structure('notifications', STRUCTURES.notify.type, STRUCTURES.notify.offset, STRUCTURES.notify.length, {
          extra: [NOTIFY_MULTIPLIER, 0, 0, 0],
        }),
        structure('ISR status', STRUCTURES.isr.type, STRUCTURES.isr.offset, STRUCTURES.isr.length),
        ...(length > 0
          ? [structure('device configuration', STRUCTURES.device.type, STRUCTURES.device.offset, length)]
          : []),
        this.access,
      ],
      written: (offset) => {
        if (offset === 5) this.driveLine();
      },
    });
  }

  // ---- interrupts ------------------------------------------------------------------------------------------------

  private interrupt(queue?: number): void {
    if (this.msix.enabled) {
      const vector = queue === undefined ? this.configVector : this.queueVectors[queue];
      if (vector !== NO_VECTOR) this.msix.notify(vector);
      return;
    }
    this.isr |= queue === undefined ? Isr.config : Isr.queue;
    this.driveLine();
  }

  private driveLine(): void {
    const { config, command } = this.function;
    config[6] = this.isr ? config[6] | STATUS_INTERRUPT : config[6] & ~STATUS_INTERRUPT;
    this.options.line.set(this.isr && !(command & INTX_OFF) && !this.msix.enabled ? 1 : 0);
  }

  // ---- registers -------------------------------------------------------------------------------------------------

  readMmio(gpa: number, size: number): number {
    return this.read(gpa & (BAR_SIZE - 1), size);
  }

  writeMmio(gpa: number, value: number, size: number): void {
    this.write(gpa & (BAR_SIZE - 1), value, size);
  }

  private read(offset: number, size: number): number {
    const { common, isr, device } = STRUCTURES;
    if (offset >= device.offset && offset < device.offset + device.length) {
      return this.core.readConfig(offset - device.offset, size);
    }
    if (offset === isr.offset) {
      const value = this.isr;
      this.isr = 0;
      this.driveLine();
      return value;
    }
    if (offset >= common.offset + common.length) return 0;
    let value = 0;
    for (let i = 0; i < size; i++) value += this.commonByte(offset + i) * 2 ** (8 * i);
    return value;
  }

  private commonByte(offset: number): number {
    const field = this.common.find((row) => offset >= row.offset && offset < row.offset + row.size);
    return field ? (field.read() >>> (8 * (offset - field.offset))) & 0xff : 0;
  }

  /** "the driver MUST use ... accesses of the field's size": other writes to the common structure do nothing. */
  private write(offset: number, value: number, size: number): void {
    const { notify, device, common } = STRUCTURES;
    if (offset >= notify.offset) this.core.notify(Math.floor((offset - notify.offset) / NOTIFY_MULTIPLIER));
    else if (offset >= device.offset) this.core.writeConfig(offset - device.offset, value, size);
    else if (offset < common.length) {
      this.common.find((row) => row.offset === offset && row.size === size)?.write?.(value);
    }
  }

  /** "Common configuration structure layout": struct virtio_pci_common_cfg. */
  private commonFields(): CommonField[] {
    const { core, selects } = this;
    const queue = () => core.selected(selects.queue);
    const vector = (value: number) => (value < this.msix.vectors ? value : NO_VECTOR);
    return [
      { offset: 0, size: 4, read: () => selects.deviceFeature, write: (value) => (selects.deviceFeature = value) },
      { offset: 4, size: 4, read: () => core.deviceFeatures(selects.deviceFeature) },
      { offset: 8, size: 4, read: () => selects.driverFeature, write: (value) => (selects.driverFeature = value) },
      {
        offset: 12,
        size: 4,
        read: () => core.driverFeatures(selects.driverFeature),
        write: (value) => core.acceptFeatures(selects.driverFeature, value),
      },
      { offset: 16, size: 2, read: () => this.configVector, write: (value) => (this.configVector = vector(value)) },
      { offset: 18, size: 2, read: () => core.queues.length },
      {
        offset: 20,
        size: 1,
        read: () => core.deviceStatus,
        write: (value) => {
          core.writeStatus(value);
          if (value === 0) this.resetTransport();
        },
      },
      { offset: 21, size: 1, read: () => core.generation },
      { offset: 22, size: 2, read: () => selects.queue, write: (value) => (selects.queue = value) },
      {
        offset: 24,
        size: 2,
        read: () => queue()?.state.size ?? 0,
        write: (value) => queue()?.setSize(value),
      },
      {
        offset: 26,
        size: 2,
        read: () => this.queueVectors[selects.queue] ?? NO_VECTOR,
        write: (value) => {
          if (selects.queue < this.queueVectors.length) this.queueVectors[selects.queue] = vector(value);
        },
      },
      {
        offset: 28,
        size: 2,
        read: () => (queue()?.state.ready ? 1 : 0),
        write: (value) => {
          if (value === 1) queue()?.enable();
        },
      },
      { offset: 30, size: 2, read: () => (queue() ? selects.queue : 0) },
      ...QUEUE_AREAS.flatMap((area, i) =>
        [0, 1].map((half): CommonField => ({
          offset: 32 + 8 * i + 4 * half,
          size: 4,
          read: () => queue()?.address(area, half) ?? 0,
          write: (value) => queue()?.setAddress(area, half, value),
        })),
      ),
    ];
  }

  // ---- "PCI configuration access capability" ---------------------------------------------------------------------

  /** Offset and length that the driver has put into the capability; undefined: an access that is not allowed. */
  private window(): { offset: number; length: 1 | 2 | 4 } | undefined {
    const offset = this.access.get(8, 4);
    const length = this.access.get(12, 4);
    if (length !== 1 && length !== 2 && length !== 4) return undefined;
    if (this.access.bytes[4] !== BAR || offset % length || offset + length > BAR_SIZE) return undefined;
    return { offset, length };
  }

  private readThrough(at: number): void {
    const window = this.window();
    if (at !== ACCESS_DATA || !window) return;
    const value = this.read(window.offset, window.length);
    this.access.bytes.set(littleEndianBytes(value, window.length), ACCESS_DATA);
  }

  private writeThrough(at: number): void {
    const window = this.window();
    if (!window || at !== ACCESS_DATA + window.length - 1) return;
    this.write(window.offset, this.access.get(ACCESS_DATA, window.length), window.length);
  }

  // ---- state -----------------------------------------------------------------------------------------------------

  private resetTransport(): void {
    Object.assign(this.selects, { deviceFeature: 0, driverFeature: 0, queue: 0 });
    this.configVector = NO_VECTOR;
    this.queueVectors.fill(NO_VECTOR);
    this.isr = 0;
    this.driveLine();
  }

  reset(): void {
    this.core.reset();
    this.msix.reset();
    this.resetTransport();
  }

  save(): VirtioPciState {
    return {
      core: this.core.save(),
      msix: this.msix.save(),
      deviceFeatureSelect: this.selects.deviceFeature,
      driverFeatureSelect: this.selects.driverFeature,
      queueSelect: this.selects.queue,
      configVector: this.configVector,
      queueVectors: [...this.queueVectors],
      isr: this.isr,
    };
  }

  restore(state: VirtioPciState): void {
    this.core.restore(state.core);
    this.msix.restore(state.msix);
    this.selects.deviceFeature = state.deviceFeatureSelect;
    this.selects.driverFeature = state.driverFeatureSelect;
    this.selects.queue = state.queueSelect;
    this.configVector = state.configVector;
    this.queueVectors = [...state.queueVectors];
    this.isr = state.isr;
  }

  describe(): Field[] {
    return [
      { name: 'transport', value: 'PCI', text: this.msix.enabled ? 'MSI-X' : 'INTA#' },
      { name: 'ISR status', value: hex(this.isr, 8) },
      ...this.core.describe(),
      { name: 'MSI-X', value: this.msix.enabled ? 'enabled' : 'off', children: this.msix.describe() },
    ];
  }
}

/** Where pci_cfg_data is in the access capability. */
const ACCESS_DATA = 16;

/** struct virtio_pci_cap: cfg_type, bar, id, padding, offset, length; and what follows in some. */
function structure(
  name: string,
  type: number,
  offset: number,
  length: number,
  more: {
    extra?: number[];
    writable?: number[];
    reading?: (offset: number) => void;
    written?: (offset: number) => void;
  } = {},
): PciCapability {
  const { extra = [], ...hooks } = more;
  const size = 16 + extra.length;
  const bar = type === PCI_ACCESS ? 0 : BAR;
  const data = [size, type, bar, 0, 0, 0, ...littleEndianBytes(offset), ...littleEndianBytes(length), ...extra];
  return new PciCapability({ id: PciCapabilityId.vendor, name, data, ...hooks });
}
