/**
 * A machine whose guest is a few bytes of code: put code and data into RAM, choose a mode, set registers, run, look.
 *
 * Layout of guest RAM (identity-mapped where paging is on): page tables 0x1000-0x4fff, GDT 0x5000, IDT 0x6000, TSS 0x7000,
 * exception handlers 0x8000 + 16 * vector (each jumps to itself), interrupt stack below 0xb000, ring-0 stack below 0xc000.
 */
import { Segment, SegmentIndex, State, segmentOffset, type SegmentName } from '../../emulator-core/cpu/layout';
import { Cr0, Cr4, Efer, Flag, type Vcpu } from '../../emulator-core/cpu/vcpu';
import { Machine, type MachineHooks, type MachineOptions } from '../../emulator-core/machine';

export type Mode = 'real' | '16' | '32' | 'compat' | '64';

export const GPR_NAMES = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const; // prettier-ignore
export type GprName = (typeof GPR_NAMES)[number];

export const TABLES = 0x1000;
export const GDT = 0x5000;
export const IDT = 0x6000;
export const TSS = 0x7000;
export const HANDLERS = 0x8000;
export const INTERRUPT_STACK = 0xb000;
export const RING0_STACK = 0xc000;

/** Selectors of the test GDT. */
export const Selector = {
  code64: 0x08,
  data: 0x10,
  code32: 0x18,
  code16: 0x20,
  data16: 0x28,
  userCode32: 0x33,
  userData: 0x3b,
  userCode64: 0x43,
  tss: 0x48,
  /** Free 8-byte descriptors for the test to fill. */
  free: 0x60,
} as const;

const PRESENT = 0x80;

/** An 8-byte descriptor. `access`: the type, S, DPL and P byte; `flags`: AVL, L, D/B and G as the high nibble's value. */
export function descriptor(base: number, limit: number, access: number, flags: number): bigint {
  const low = BigInt((limit & 0xffff) | ((base & 0xffff) << 16)) & 0xffffffffn;
  const high = ((base >>> 16) & 0xff) | (access << 8) | (limit & 0xf0000) | (flags << 20) | (base & 0xff000000);
  return low | (BigInt(high >>> 0) << 32n);
}

/** Hooks of a machine that nobody debugs, but for `more`. */
export function quietHooks(more: Partial<MachineHooks> = {}): MachineHooks {
  return {
    breakpoint: () => false,
    breakpointsOn: () => undefined,
    watch: () => false,
    console: () => {},
    note: () => {},
    ...more,
  };
}

export class TestMachine {
  readonly machine: Machine;
  readonly cpu: Vcpu;
  readonly notes: string[] = [];
  console = '';

  constructor(options: Partial<MachineOptions> = {}, hooks: Partial<MachineHooks> = {}) {
    this.machine = new Machine(
      {
        memory: 8 << 20,
        cpus: 1,
        vendor: 'intel',
        features: [],
        debugExit: true,
        startTime: 0,
        kernel: { name: 'test', kernel: Uint8Array.of(0xf4), protocol: 'raw', cmdline: '', modules: [] },
        ...options,
      },
      quietHooks({
        note: (text) => this.notes.push(text),
        console: (byte) => (this.console += String.fromCharCode(byte)),
        ...hooks,
      }),
    );
    this.cpu = this.machine.vcpus[0];
  }

  // ---- memory ----

  write(address: number, bytes: ArrayLike<number>): void {
    this.machine.writePhysical(address, Uint8Array.from(bytes));
  }
  writeHex(address: number, hex: string): number {
    const bytes = fromHex(hex);
    this.write(address, bytes);
    return bytes.length;
  }
  read(address: number, length: number): Uint8Array {
    return this.machine.memory.ram.slice(address, address + length);
  }
  write64(address: number, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
    this.write(address, bytes);
  }
  write32(address: number, value: number): void {
    this.write(
      address,
      [value, value >>> 8, value >>> 16, value >>> 24].map((b) => b & 255),
    );
  }
  write16(address: number, value: number): void {
    this.write(address, [value & 255, (value >>> 8) & 255]);
  }
  read64(address: number): bigint {
    return new DataView(this.machine.memory.ram.buffer, this.machine.memory.ramBase + address, 8).getBigUint64(0, true);
  }
  read32(address: number): number {
    return Number(this.read64(address) & 0xffffffffn);
  }
  read16(address: number): number {
    return Number(this.read64(address) & 0xffffn);
  }

  // ---- registers ----

  get(name: GprName): bigint {
    return this.cpu.gpr(GPR_NAMES.indexOf(name));
  }
  set(registers: Partial<Record<GprName, bigint | number>>): void {
    for (const [name, value] of Object.entries(registers)) {
      this.cpu.setGpr(GPR_NAMES.indexOf(name as GprName), BigInt.asUintN(64, BigInt(value)));
    }
  }
  segment(name: SegmentName, selector: number, base: number, limit: number, rights: number): void {
    this.cpu.setSegment(SegmentIndex[name], selector, BigInt(base), limit, rights);
    this.cpu.modeChanged();
  }
  selector(name: SegmentName): number {
    return this.cpu.get32(segmentOffset(SegmentIndex[name]) + Segment.selector);
  }

  // ---- modes ----

  /** GDT, IDT (every vector to its handler), TSS, page tables in memory; then the mode, at privilege `cpl`. */
  enter(mode: Mode, cpl: 0 | 3 = 0): this {
    const long = mode === '64' || mode === 'compat';
    this.fillTables(mode);
    const { cpu } = this;
    cpu.set64(State.gdtrBase, BigInt(GDT));
    cpu.set64(State.gdtrLimit, 0xffn);
    cpu.set64(State.idtrBase, mode === 'real' ? 0n : BigInt(IDT));
    cpu.set64(State.idtrLimit, mode === 'real' ? 0x3ffn : 0xfffn);
    let cr0 = Cr0.ET | Cr0.NE | Cr0.WP;
    if (mode !== 'real') cr0 |= Cr0.PE;
    if (long) cr0 |= Cr0.PG;
    cpu.set64(State.cr0, BigInt(cr0 >>> 0));
    cpu.set64(State.cr3, BigInt(TABLES));
    cpu.set64(State.cr4, long ? BigInt(Cr4.PAE) : 0n);
    cpu.set64(State.efer, long ? BigInt(Efer.LME | Efer.LMA | Efer.NXE | Efer.SCE) : 0n);
    if (mode === 'real')
      for (const s of ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const)
        this.segment(s, 0, 0, 0xffff, s === 'cs' ? 0x9b : 0x93);
    else this.enterProtected(mode, cpl);
    cpu.rflags = 2;
    cpu.activity = 'active';
    cpu.pending = undefined;
    cpu.shadowUntil = -1;
    cpu.modeChanged();
    this.machine.core.flushAllTranslations();
    return this;
  }

  private enterProtected(mode: Mode, cpl: 0 | 3): void {
    const dpl = cpl << 5;
    const wide = mode === '16' ? 0 : 0xc000;
    const limit = mode === '16' ? 0xffff : 0xffffffff;
    const code =
      mode === '64'
        ? cpl
          ? Selector.userCode64
          : Selector.code64
        : mode === '16'
          ? Selector.code16
          : cpl
            ? Selector.userCode32
            : Selector.code32;
    const data = mode === '16' ? Selector.data16 : cpl ? Selector.userData : Selector.data;
    this.segment('cs', code, 0, limit, (mode === '64' ? 0xa09b : 0x9b | wide) | dpl);
    for (const s of ['ss', 'ds', 'es', 'fs', 'gs'] as const) this.segment(s, data, 0, limit, 0x93 | wide | dpl);
    this.segment('tr', Selector.tss, TSS, 0xfff, 0x8b);
    this.segment('ldtr', 0, 0, 0, 0x10082);
  }

  private fillTables(mode: Mode): void {
    const d = descriptor;
    const gdt = [
      0n, d(0, 0xfffff, 0x9b, 0xa), d(0, 0xfffff, 0x93, 0xc), d(0, 0xfffff, 0x9b, 0xc), d(0, 0xffff, 0x9b, 0), d(0, 0xffff, 0x93, 0),
      d(0, 0xfffff, 0xfb, 0xc), d(0, 0xfffff, 0xf3, 0xc), d(0, 0xfffff, 0xfb, 0xa), d(TSS, 0xfff, 0x8b, 0), 0n,
    ]; // prettier-ignore
    gdt.forEach((value, i) => this.write64(GDT + i * 8, value));
    for (let v = 0; v < 256; v++) {
      this.write(HANDLERS + v * 16, [0xeb, 0xfe]);
      if (mode === 'real') this.write32(v * 4, HANDLERS + v * 16);
      else this.gate(mode, v);
    }
    // No I/O permission bitmap.
    this.write16(TSS + 0x66, 0xffff);
    if (mode === '64' || mode === 'compat') {
      this.write64(TABLES, BigInt(TABLES + 0x1007));
      this.write64(TABLES + 0x1000, BigInt(TABLES + 0x2007));
      for (let i = 0; i < 8; i++) this.write64(TABLES + 0x2000 + i * 8, BigInt(i * 0x200000 + 0x87));
      this.write64(TSS + 4, BigInt(RING0_STACK));
      this.write64(TSS + 36, BigInt(INTERRUPT_STACK));
    } else {
      this.write32(TSS + 4, RING0_STACK);
      this.write32(TSS + 8, Selector.data);
    }
  }

  /** Points vector `v` at `handler`: an interrupt gate with DPL 3; in long mode on interrupt stack 1 unless `ist` says otherwise. */
  gate(mode: Mode, v: number, handler = HANDLERS + v * 16, access = 0x60 | PRESENT, ist = 1): void {
    if (mode === '64' || mode === 'compat') {
      const low = (handler & 0xffff) | (Selector.code64 << 16);
      this.write32(IDT + v * 16, low);
      this.write32(IDT + v * 16 + 4, (handler & 0xffff0000) | ((access | 0xe) << 8) | ist);
      this.write64(IDT + v * 16 + 8, 0n);
      return;
    }
    const wide = mode === '32';
    this.write32(IDT + v * 8, (handler & 0xffff) | ((wide ? Selector.code32 : Selector.code16) << 16));
    this.write32(IDT + v * 8 + 4, (handler & 0xffff0000) | ((access | (wide ? 0xe : 6)) << 8));
  }

  /** Vector of the handler that the vCPU loops in, or undefined. */
  get vector(): number | undefined {
    const rip = Number(this.cpu.rip);
    return rip >= HANDLERS && rip < HANDLERS + 256 * 16 && rip % 16 === 0 ? (rip - HANDLERS) / 16 : undefined;
  }

  /** Runs so many instructions in pieces, between which hot code is compiled, or until it goes no further. */
  runInPieces(instructions: number, piece = 1000): void {
    const { core } = this.machine;
    const end = core.retired + instructions;
    while (core.retired < end) {
      const before = core.retired;
      this.machine.run(Math.min(piece, end - before));
      if (core.retired === before) return;
    }
  }

  /** Code at `address` as hex, rip there, registers; then runs `count` instructions. */
  run(address: number, hex: string, registers: Partial<Record<GprName, bigint | number>> = {}, count = 1): this {
    this.writeHex(address, hex);
    this.set(registers);
    this.cpu.rip = BigInt(address);
    this.machine.run(count);
    return this;
  }
}

export function fromHex(text: string): Uint8Array {
  const hex = text.replace(/\s+/g, '');
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}
export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}

export { Flag };
