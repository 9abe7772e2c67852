/**
 * The one WebAssembly memory of a machine and what lies where in it. Addresses in it are host-physical addresses (HPA), so
 * EPT entries point to real places: guest RAM starts at `ramBase`.
 */
import { PAGE, VCPU_AREA } from '../cpu/layout';
import { PORT_TABLE_BYTES } from '../devices/bus';
import { EXIT_LOG_BYTES } from '../virt/exitRow';

const FIRST_VCPU = 0x10000;
/** Micro-ops: enough for a Linux boot's distinct instructions; flushed when full. */
const UOP_BYTES = 40 << 20;
/** EPT tables: 4 KiB tables for every 2 MiB of a 3 GiB guest, and then some. */
const EPT_BYTES = 8 << 20;
const LARGE_PAGE = 2 << 20;

export class MachineMemory {
  readonly wasm: WebAssembly.Memory;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly u64: BigUint64Array;
  readonly i64: BigInt64Array;
  readonly view: DataView;
  readonly uopBase: number;
  readonly uopEnd: number;
  readonly eptBase: number;
  readonly eptEnd: number;
  /** The log of exits (virt/exitRow.ts). */
  readonly exitLogBase: number;
  /** What the bus says of ports (devices/bus.ts). */
  readonly portBase: number;
  readonly ports: Uint8Array;
  readonly ramBase: number;
  /** Guest RAM from guest-physical 0. */
  readonly ram: Uint8Array;
  private nextEptPage: number;

  /** @param ramSize bytes, a multiple of 4 KiB, at most 3 GiB. */
  constructor(
    readonly ramSize: number,
    readonly cpus: number,
  ) {
    const align = (n: number, to: number): number => Math.ceil(n / to) * to;
    this.uopBase = align(FIRST_VCPU + cpus * VCPU_AREA, PAGE);
    this.uopEnd = this.uopBase + UOP_BYTES;
    this.eptBase = this.uopEnd;
    this.eptEnd = this.eptBase + EPT_BYTES;
    this.exitLogBase = this.eptEnd;
    this.portBase = this.exitLogBase + EXIT_LOG_BYTES;
    this.ramBase = align(this.portBase + PORT_TABLE_BYTES, LARGE_PAGE);
    this.nextEptPage = this.eptBase;
    const pages = align(this.ramBase + ramSize, 65536) / 65536;
    this.wasm = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const buffer = this.wasm.buffer;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.u64 = new BigUint64Array(buffer);
    this.i64 = new BigInt64Array(buffer);
    this.view = new DataView(buffer);
    this.ports = new Uint8Array(buffer, this.portBase, PORT_TABLE_BYTES);
    this.ram = new Uint8Array(buffer, this.ramBase, ramSize);
  }

  vcpuBase(index: number): number {
    return FIRST_VCPU + index * VCPU_AREA;
  }

  /** End of the EPT pages handed out so far; set when older tables are put back. */
  get eptUsedEnd(): number {
    return this.nextEptPage;
  }
  set eptUsedEnd(end: number) {
    this.nextEptPage = end;
  }

  /** A zeroed 4 KiB page for an EPT table. */
  allocateEptPage(): number {
    if (this.nextEptPage + PAGE > this.eptEnd) throw new Error('EPT tables: out of memory');
    const page = this.nextEptPage;
    this.nextEptPage += PAGE;
    this.u8.fill(0, page, page + PAGE);
    return page;
  }
}
