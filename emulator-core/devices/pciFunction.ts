/**
 * A PCI function's configuration space: registers with write masks, and base address registers that claim ports or memory.
 * PCI Local Bus Specification 3.0, "Configuration Space Organization".
 */
import { hex, type Field } from '../fields';
import type { MmioHandler, PortHandler } from './device';
import { readLittleEndian } from './littleEndian';
import type { PciCapability, PciCapabilityOptions } from './pciCapability';
import { describeRegisters, type Register } from './registers';

export type PciBar =
  | { kind: 'io'; size: number; handler: PortHandler; width: 1 | 2 | 4 }
  /** `wide`: a 64-bit address, which takes the next register, too. */
  | { kind: 'memory'; size: number; handler: MmioHandler; prefetchable?: boolean; wide?: boolean };

export interface PciFunctionOptions {
  /** For people: 'i440FX host bridge'. */
  title: string;
  vendor: number;
  device: number;
  revision: number;
  /** 24-bit class code. */
  classCode: number;
  /** Initial values of the command and status registers, and the command bits that can be set. */
  command?: number;
  status?: number;
  commandBits?: number;
  headerType?: number;
  subsystem?: { vendor: number; device: number };
  /** INTA-INTD is 1-4, none 0. */
  interruptPin?: 0 | 1 | 2 | 3 | 4;
  bars?: (PciBar | undefined)[];
  /** Further one-byte registers: offset, initial value, writable bits. */
  registers?: { offset: number; value: number; writable: number }[];
  /** In the order of the list; they are placed from 40h on. */
  capabilities?: readonly PciCapability[];
  /** Told of each byte of configuration space after the guest has written it. */
  written?(offset: number): void;
}

const HEADER: readonly Register[] = [
  { offset: 0x00, name: 'vendor', access: 'ro', width: 16 },
  { offset: 0x02, name: 'device', access: 'ro', width: 16 },
  {
    offset: 0x04,
    name: 'command',
    access: 'rw',
    width: 16,
    bits: { 'I/O': 0, memory: 1, 'bus master': 2, 'SERR#': 8, 'INTx off': 10 },
  },
  { offset: 0x06, name: 'status', access: 'rw', width: 16 },
  { offset: 0x08, name: 'revision', access: 'ro' },
  { offset: 0x3c, name: 'interrupt line', access: 'rw' },
  { offset: 0x3d, name: 'interrupt pin', access: 'ro' },
];

/** Status bits that a write of 1 clears. */
const STATUS_CLEARABLE = 0xf900;
const STATUS_CAPABILITIES = 0x10;
const CAPABILITIES_POINTER = 0x34;
const FIRST_CAPABILITY = 0x40;

export class PciFunction {
  readonly config = new Uint8Array(256);
  private readonly writable = new Uint8Array(256);
  /** Where each capability begins. */
  private readonly capabilities: { at: number; capability: PciCapability }[] = [];

  constructor(readonly options: PciFunctionOptions) {
    for (const [i, bar] of (options.bars ?? []).entries()) {
      if (!bar) continue;
      if (i > 5 || (wide(bar) && (i > 4 || options.bars![i + 1])))
        throw new RangeError(`${options.title}: BAR${i} does not fit into six registers`);
      const smallest = bar.kind === 'io' ? 4 : 16;
      if (bar.size < smallest || (bar.size & (bar.size - 1)) !== 0 || bar.size > 0x80000000) {
        throw new RangeError(`${options.title}: a BAR's size must be a power of two of at least ${smallest}`);
      }
    }
    let at = FIRST_CAPABILITY;
    for (const capability of options.capabilities ?? []) {
      this.capabilities.push({ at, capability });
      capability.bytes = this.config.subarray(at, at + capability.length);
      at += (capability.length + 3) & ~3;
    }
    if (at > 0x100) throw new RangeError(`${options.title}: its capabilities do not fit into 256 bytes`);
    this.reset();
  }

  reset(): void {
    const { options, config, writable } = this;
    config.fill(0);
    writable.fill(0);
    this.word(0x00, options.vendor);
    this.word(0x02, options.device);
    this.word(0x04, options.command ?? 0, options.commandBits ?? 0x0507);
    this.word(0x06, options.status ?? 0);
    config[0x08] = options.revision;
    config[0x09] = options.classCode & 0xff;
    this.word(0x0a, options.classCode >> 8);
    config[0x0e] = options.headerType ?? 0;
    writable[0x0c] = writable[0x0d] = writable[0x3c] = 0xff;
    if (options.subsystem) {
      this.word(0x2c, options.subsystem.vendor);
      this.word(0x2e, options.subsystem.device);
    }
    config[0x3d] = options.interruptPin ?? 0;
    (options.bars ?? []).forEach((bar, i) => {
      if (!bar) return;
      const mask = -bar.size >>> 0;
      const flags = bar.kind === 'io' ? 1 : (bar.prefetchable ? 8 : 0) | (bar.wide ? 4 : 0);
      this.word(0x10 + 4 * i, flags, mask & 0xffff);
      this.word(0x12 + 4 * i, 0, mask >>> 16);
      if (wide(bar)) writable.fill(0xff, 0x14 + 4 * i, 0x18 + 4 * i);
    });
    for (const { offset, value, writable: bits } of options.registers ?? []) {
      config[offset] = value;
      writable[offset] = bits;
    }
    this.capabilities.forEach(({ at, capability }, i) => {
      const { id, data, writable: bits } = capability.options;
      config[at] = id;
      config[at + 1] = this.capabilities[i + 1]?.at ?? 0;
      config.set(data, at + 2);
      if (bits) writable.set(bits, at + 2);
    });
    if (this.capabilities.length > 0) {
      config[0x06] |= STATUS_CAPABILITIES;
      config[CAPABILITIES_POINTER] = FIRST_CAPABILITY;
    }
  }

  get command(): number {
    return this.config[4] | (this.config[5] << 8);
  }

  /** The address in a base address register, without its flag bits. */
  barAddress(index: number): number {
    const bar = this.options.bars![index]!;
    const low = (this.peek(0x10 + 4 * index, 4) & -bar.size) >>> 0;
    return wide(bar) ? low + this.peek(0x14 + 4 * index, 4) * 2 ** 32 : low;
  }

  /** A read by the guest. */
  read(offset: number, size: number): number {
    for (let i = 0; i < size; i++) this.capabilityAt(offset + i, (options, at) => options.reading?.(at));
    return this.peek(offset, size);
  }

  /** What a read would give, without what it does. */
  peek(offset: number, size: number): number {
    return readLittleEndian(this.config, offset, size);
  }

  write(offset: number, value: number, size: number): void {
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      const byte = (value >>> (8 * i)) & 0xff;
      if (at === 7) this.config[7] &= ~(byte & (STATUS_CLEARABLE >> 8));
      else this.config[at] = (this.config[at] & ~this.writable[at]) | (byte & this.writable[at]);
      this.options.written?.(at);
      this.capabilityAt(at, (options, inside) => options.written?.(inside));
    }
  }

  describe(): Field[] {
    const bars = (this.options.bars ?? []).flatMap((bar, i): Field[] => {
      if (!bar) return [];
      const text = `${bar.kind}, ${hex(bar.size, 32)} bytes`;
      return [{ name: `BAR${i}`, value: hex(this.barAddress(i), wide(bar) ? 64 : 32), text }];
    });
    const header = describeRegisters(HEADER, (row) => this.peek(row.offset, (row.width ?? 8) / 8));
    return [...header, ...bars, ...this.capabilities.map(({ capability }) => capability.describe())];
  }

  /** Calls with the capability that has a byte of configuration space, if one has. */
  private capabilityAt(offset: number, then: (options: PciCapabilityOptions, at: number) => void): void {
    if (offset < FIRST_CAPABILITY) return;
    for (const { at, capability } of this.capabilities) {
      if (offset >= at && offset < at + capability.length) then(capability.options, offset - at);
    }
  }

  private word(offset: number, value: number, writable = 0): void {
    this.config[offset] = value & 0xff;
    this.config[offset + 1] = (value >> 8) & 0xff;
    this.writable[offset] = writable & 0xff;
    this.writable[offset + 1] = (writable >> 8) & 0xff;
  }
}

function wide(bar: PciBar): boolean {
  return bar.kind === 'memory' && bar.wide === true;
}
