/**
 * MSI-X: a table of messages and an array of pending bits in a memory BAR. PCI Local Bus Specification 3.0, "MSI-X Capability
 * and Table Structures".
 */
import { hex, type Field } from '../fields';
import { allOnes } from './bus';
import type { MmioHandler } from './device';
import { littleEndianBytes } from './littleEndian';
import { PciCapability, PciCapabilityId } from './pciCapability';

/** Sends an interrupt message: a write of `data` to `address`. */
export type SendMessage = (address: number, data: number) => void;

export interface MsixState {
  table: Uint32Array;
  pending: Uint32Array;
}

const CONTROL = 2;
const ENABLE = 0x8000;
const FUNCTION_MASK = 0x4000;
/** Where the pending bits begin in the BAR; the table is in front of them. */
const PENDING_OFFSET = 0x800;
const MAX_VECTORS = PENDING_OFFSET / 16;

export class Msix implements MmioHandler {
  /** Size of the BAR, all of which belongs to MSI-X. */
  static readonly barSize = 0x1000;
  readonly capability: PciCapability;
  /** Four words an entry: message address, upper address, data, vector control. */
  private table: Uint32Array;
  private pending: Uint32Array;

  /**
   * @param vectors 1 to 128
   * @param bar index of the BAR that this object handles
   * @param changed told when the guest may have enabled or disabled MSI-X
   */
  constructor(
    readonly vectors: number,
    bar: number,
    private readonly send: SendMessage,
    changed: () => void,
  ) {
    if (!(vectors >= 1 && vectors <= MAX_VECTORS)) throw new RangeError(`MSI-X: ${vectors} vectors, expected 1 to 128`);
    this.table = new Uint32Array(4 * vectors);
    this.pending = new Uint32Array(Math.ceil(vectors / 32));
    this.capability = new PciCapability({
      id: PciCapabilityId.msix,
      name: 'MSI-X',
      data: [
        ...littleEndianBytes(vectors - 1, 2),
        ...littleEndianBytes(bar),
        ...littleEndianBytes(PENDING_OFFSET | bar),
      ],
      writable: [0, (ENABLE | FUNCTION_MASK) >> 8],
      written: (offset) => {
        if (offset !== CONTROL + 1) return;
        changed();
        this.sendPending();
      },
      describe: () => this.describe(),
    });
    this.reset();
  }

  get enabled(): boolean {
    return (this.capability.get(CONTROL, 2) & ENABLE) !== 0;
  }

  /** The device has something to say. The message waits as a pending bit while it is masked. */
  notify(vector: number): void {
    if (!this.enabled || vector >= this.vectors) return;
    if (this.masked(vector)) this.pending[vector >> 5] |= 1 << (vector & 31);
    else this.message(vector);
  }

  readMmio(gpa: number, size: number): number {
    const offset = gpa & (Msix.barSize - 1);
    const words = offset < PENDING_OFFSET ? this.table : this.pending;
    const index = (offset % PENDING_OFFSET) >> 2;
    if (index >= words.length) return 0;
    return ((words[index] >>> (8 * (offset & 3))) & allOnes(size)) >>> 0;
  }

  /** Only aligned words: "Software must use full DWORD transfers". */
  writeMmio(gpa: number, value: number, size: number): void {
    const offset = gpa & (Msix.barSize - 1);
    if (size !== 4 || offset & 3 || offset >= 16 * this.vectors) return;
    const field = (offset >> 2) & 3;
    this.table[offset >> 2] = field === 0 ? value & ~3 : field === 3 ? value & 1 : value;
    if (field === 3) this.sendPending();
  }

  reset(): void {
    this.table.fill(0);
    for (let vector = 0; vector < this.vectors; vector++) this.table[4 * vector + 3] = 1;
    this.pending.fill(0);
  }

  save(): MsixState {
    return { table: this.table.slice(), pending: this.pending.slice() };
  }

  restore(state: MsixState): void {
    this.table = state.table.slice();
    this.pending = state.pending.slice();
  }

  describe(): Field[] {
    const entries = Array.from({ length: this.vectors }, (_, vector): Field => {
      const [low, high, data] = this.table.subarray(4 * vector, 4 * vector + 3);
      const pending = this.isPending(vector) ? 'pending' : '';
      const masked = this.table[4 * vector + 3] & 1 ? 'masked' : '';
      const address = (BigInt(high) << 32n) | BigInt(low);
      const text = [`data ${hex(data, 32)}`, masked, pending].filter(Boolean).join(', ');
      return { name: `vector ${vector}`, value: hex(address, 64), text };
    });
    const control = this.capability.get(CONTROL, 2);
    const state = [control & ENABLE ? 'enabled' : 'off', control & FUNCTION_MASK ? 'all masked' : ''];
    return [{ name: 'control', value: hex(control, 16), text: state.filter(Boolean).join(', ') }, ...entries];
  }

  private isPending(vector: number): boolean {
    return (this.pending[vector >> 5] & (1 << (vector & 31))) !== 0;
  }

  private masked(vector: number): boolean {
    return (this.capability.get(CONTROL, 2) & FUNCTION_MASK) !== 0 || (this.table[4 * vector + 3] & 1) !== 0;
  }

  private sendPending(): void {
    if (!this.enabled) return;
    for (let vector = 0; vector < this.vectors; vector++) {
      if (!this.isPending(vector) || this.masked(vector)) continue;
      this.pending[vector >> 5] &= ~(1 << (vector & 31));
      this.message(vector);
    }
  }

  /** Interrupt messages go to FEExxxxxh; a write anywhere else would be one to memory, which no driver asks for. */
  private message(vector: number): void {
    const [low, high, data] = this.table.subarray(4 * vector, 4 * vector + 3);
    if (high === 0 && low >>> 20 === 0xfee) this.send(low, data);
  }
}
