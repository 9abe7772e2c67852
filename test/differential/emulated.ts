/** The machine as the other side: a vCPU in user mode under page tables and descriptors like those that Linux gives the runner. */
import { coreFeatures } from '../../emulator-core/cpu/cpuFeatures';
import { SegmentIndex, State } from '../../emulator-core/cpu/layout';
import { Cr0, Cr4, Efer, Flag, Rights } from '../../emulator-core/cpu/vcpu';
import { TestMachine } from '../emulator-core/testMachine';
import { applyPatches, vendorOf } from './native';
import {
  CODE,
  CODE_BYTES,
  Case,
  CaseFlag,
  DATA,
  DATA_BYTES,
  ENDLESS,
  HLT,
  Outcome,
  READ_ONLY,
  Selectors,
  TEMPLATE,
} from './protocol';

const PML4 = 0x1000;
const SYSTEM = { pointers: 0x10000, tables: { pointers: 0x2000, directory: 0x3000, low: 0x4000 } };
const GDT = 0x5000;
const TSS = 0x7000;
/** Physical memory, for the processor's own structures, at the start of the upper half. Only the supervisor sees it. */
const UPPER = 0xffff800000000000n;
/** More than any case's instructions; REP counts one per iteration. */
const LIMIT = 300_000;

/** Descriptors of Linux' GDT: arch/x86/kernel/cpu/common.c names them; their contents are what LAR and LSL show. */
const DESCRIPTORS = [
  0n, 0x00cf9b000000ffffn, 0x00af9b000000ffffn, 0x00cf93000000ffffn, 0x00cffb000000ffffn, 0x00cff3000000ffffn, 0x00affb000000ffffn,
]; // prettier-ignore
/** Linux: the last one, read-only and expand-down for user code, has the processor's number as its limit. */
const PROCESSOR = 15;
const processorDescriptor = (limit: number): bigint =>
  (0xf5n << 40n) | BigInt(limit & 0xffff) | (BigInt((limit >>> 16) & 15) << 48n);
const GDT_LIMIT = 0x7f;

/** init_pkru of Linux: write and access disabled for keys 1 to 15. */
const PKRU = 0x55555554;
const READ_WRITE_USER = 7;
const READ_USER = 5;
const SUPERVISOR = 3;

export class Emulated {
  readonly machine: TestMachine;
  readonly features: ReadonlySet<string>;
  private stopped = false;
  private vector = 0;
  private error = 0;
  private address = 0n;
  private compatibility = false;
  private readonly u8: Uint8Array;
  private readonly base: number;
  private readonly data: Uint8Array;
  private readonly fpr16: Uint16Array;

  /** @param features of the processor that the cases may use; those that the core does not have are left out. */
  constructor(features: ReadonlySet<string>, processorLimit = 0) {
    const vendor = vendorOf(features);
    const wanted = coreFeatures(vendor)
      .filter((name) => features.has(name))
      .map((name) => '+' + name);
    this.machine = new TestMachine({ vendor, features: wanted });
    this.features = this.machine.machine.model.features;
    const { machine, cpu } = this.machine;
    const { memory } = machine;
    this.u8 = memory.u8;
    this.base = cpu.base;
    this.data = memory.ram.subarray(DATA, DATA + DATA_BYTES);
    this.fpr16 = new Uint16Array(memory.u8.buffer, cpu.base + State.fpr, 64);
    // Exceptions end a case here, instead of being delivered.
    machine.deliver = (c) => {
      const { vector, error, address } = c.pending!;
      c.pending = undefined;
      this.vector = vector;
      this.error = error ?? 0;
      this.address = vector === 14 ? (address ?? 0n) : 0n;
      this.stopped = true;
      c.attention = true;
    };
    machine.service = (c) => {
      c.attention = false;
      return this.stopped;
    };
    this.setUp(processorLimit);
  }

  private setUp(processorLimit: number): void {
    const t = this.machine;
    const { cpu } = t;
    const { pointers, directory, low } = SYSTEM.tables;
    t.write64(PML4, BigInt(pointers | READ_WRITE_USER));
    t.write64(pointers, BigInt(directory | READ_WRITE_USER));
    t.write64(directory + 8, BigInt(low | READ_WRITE_USER));
    const map = (from: number, bytes: number, flags: bigint): void => {
      for (let at = from; at < from + bytes; at += 4096) t.write64(low + ((at >> 12) & 511) * 8, BigInt(at) | flags);
    };
    const noExecute = 1n << 63n;
    map(DATA, DATA_BYTES, BigInt(READ_WRITE_USER) | noExecute);
    map(READ_ONLY, 4096, BigInt(READ_USER) | noExecute);
    map(CODE, CODE_BYTES, BigInt(READ_USER));
    t.write64(PML4 + 256 * 8, BigInt(SYSTEM.pointers | SUPERVISOR));
    t.write64(SYSTEM.pointers, BigInt(0x80 | SUPERVISOR));
    t.write(READ_ONLY, TEMPLATE.subarray(0, 4096));
    DESCRIPTORS.forEach((value, i) => t.write64(GDT + i * 8, value));
    t.write64(GDT + PROCESSOR * 8, processorDescriptor(processorLimit));
    // No I/O permission bitmap: ports are the supervisor's.
    t.write16(TSS + 0x66, 0xffff);
    cpu.set64(State.gdtrBase, UPPER + BigInt(GDT));
    cpu.set64(State.gdtrLimit, BigInt(GDT_LIMIT));
    cpu.set64(State.idtrBase, UPPER);
    cpu.set64(State.idtrLimit, 0n);
    const cr0 = Cr0.PE | Cr0.MP | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.AM | Cr0.PG;
    cpu.set64(State.cr0, BigInt(cr0 >>> 0));
    cpu.set64(State.cr3, BigInt(PML4));
    const cr4 = Cr4.DE | Cr4.PAE | Cr4.PGE | Cr4.OSFXSR | Cr4.OSXMMEXCPT | Cr4.OSXSAVE | Cr4.UMIP | Cr4.FSGSBASE;
    // Linux gives user code protection keys, all but the first closed.
    const keys = this.features.has('pku') ? Cr4.PKE : 0;
    cpu.set64(State.cr4, BigInt(cr4 | keys));
    cpu.set32(State.pkru, PKRU);
    cpu.set64(State.efer, BigInt(Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE));
    cpu.set64(State.xcr0, 7n);
    cpu.setSegment(SegmentIndex.tr, 0x40, UPPER + BigInt(TSS), 0xfff, 0x8b);
    cpu.setSegment(SegmentIndex.ldtr, 0, 0n, 0, Rights.unusable);
    cpu.activity = 'active';
    this.loadSegments(false);
    t.machine.core.flushAllTranslations();
  }

  private loadSegments(compatibility: boolean): void {
    const { cpu } = this.machine;
    if (compatibility) cpu.setSegment(SegmentIndex.cs, Selectors.code32, 0n, 0xffffffff, 0xc0fb);
    else cpu.setSegment(SegmentIndex.cs, Selectors.code64, 0n, 0xffffffff, 0xa0fb);
    const { ss, ds, es, fs, gs } = SegmentIndex;
    for (const segment of [ss, ds, es]) cpu.setSegment(segment, Selectors.data, 0n, 0xffffffff, 0xc0f3);
    for (const segment of [fs, gs]) cpu.setSegment(segment, 0, 0n, 0, Rights.unusable);
    cpu.modeChanged();
    this.compatibility = compatibility;
  }

  /** Replaces the bytes at CODE. */
  setCode(code: Uint8Array): void {
    const region = new Uint8Array(CODE_BYTES).fill(HLT);
    region.set(code);
    this.machine.machine.writePhysical(CODE, region);
  }

  /** Runs one case. */
  run(cases: Buffer, at: number, out: Outcome): void {
    const { cpu, machine } = this.machine;
    const { core } = machine;
    const flags = cases.readUInt32LE(at + Case.flags);
    this.load(cases, at, flags);
    this.stopped = false;
    this.vector = ENDLESS;
    cpu.pending = undefined;
    cpu.shadowUntil = -1;
    core.run(cpu, LIMIT);
    this.take(out);
  }

  private load(cases: Buffer, at: number, flags: number): void {
    const { u8, base } = this;
    const { cpu } = this.machine;
    this.data.set(TEMPLATE);
    applyPatches(cases, at, (address, bytes) => this.machine.machine.memory.ram.set(bytes, address));
    const compatibility = (flags & CaseFlag.compatibility) !== 0;
    const aligned = (cpu.systemFlags & Flag.AC) !== 0;
    cpu.rflags = cases.readUInt32LE(at + Case.rflags) | 0x202;
    // The last case may have left AC set, which turns alignment checks on.
    if (aligned || this.segmentsMoved() || compatibility !== this.compatibility) this.loadSegments(compatibility);
    u8.set(cases.subarray(at + Case.gpr, at + Case.gpr + 128), base + State.gpr);
    cpu.setSegmentBase(SegmentIndex.fs, cases.readBigUInt64LE(at + Case.fsBase));
    cpu.setSegmentBase(SegmentIndex.gs, cases.readBigUInt64LE(at + Case.gsBase));
    cpu.set32(State.rip, cases.readUInt32LE(at + Case.rip));
    cpu.set32(State.rip + 4, 0);
    cpu.set32(State.mxcsr, cases.readUInt32LE(at + Case.mxcsr));
    cpu.set32(State.fcw, cases.readUInt16LE(at + Case.fcw));
    cpu.set32(State.fsw, cases.readUInt16LE(at + Case.fsw));
    if (flags & CaseFlag.extended) {
      u8.set(cases.subarray(at + Case.x87, at + Case.x87 + 128), base + State.fpr);
      u8.set(cases.subarray(at + Case.ymm, at + Case.ymm + 512), base + State.ymm);
    } else {
      u8.fill(0, base + State.fpr, base + State.fpr + 128);
      u8.fill(0, base + State.ymm, base + State.ymm + 512);
    }
    cpu.set32(State.ftw, this.tags(cases.readUInt16LE(at + Case.valid)));
  }

  /** Tag word of the registers loaded. SDM Vol. 1, "x87 FPU Tag Word". */
  private tags(valid: number): number {
    const { fpr16 } = this;
    let tags = 0;
    for (let r = 0; r < 8; r++) {
      let tag = 3;
      if (valid & (1 << r)) {
        const exponent = fpr16[r * 8 + 4] & 0x7fff;
        const zero = !(fpr16[r * 8] | fpr16[r * 8 + 1] | fpr16[r * 8 + 2] | fpr16[r * 8 + 3]);
        const normal = exponent !== 0 && exponent !== 0x7fff && fpr16[r * 8 + 3] & 0x8000;
        tag = normal ? 0 : exponent === 0 && zero ? 1 : 2;
      }
      tags |= tag << (r * 2);
    }
    return tags;
  }

  /** A case loaded a segment register, or left 64-bit mode. */
  private segmentsMoved(): boolean {
    const { cpu } = this.machine;
    const { es, cs, ss, ds, fs, gs } = SegmentIndex;
    const code = this.compatibility ? Selectors.code32 : Selectors.code64;
    return (
      cpu.selector(cs) !== code || cpu.selector(ss) !== Selectors.data || cpu.selector(ds) !== Selectors.data ||
      cpu.selector(es) !== Selectors.data || cpu.selector(fs) !== 0 || cpu.selector(gs) !== 0
    ); // prettier-ignore
  }

  private take(out: Outcome): void {
    const { u8, base } = this;
    const { cpu } = this.machine;
    out.vector = this.vector;
    out.error = this.error;
    out.address[0] = Number(this.address & 0xffffffffn);
    out.address[1] = Number((this.address >> 32n) & 0xffffffffn);
    out.rip[0] = cpu.get32(State.rip);
    out.rip[1] = cpu.get32(State.rip + 4);
    out.rflags = cpu.rflags;
    out.mxcsr = cpu.get32(State.mxcsr) >>> 0;
    out.fcw = cpu.get32(State.fcw) & 0xffff;
    out.fsw = cpu.get32(State.fsw) & 0xffff;
    const tags = cpu.get32(State.ftw);
    out.valid = 0;
    for (let r = 0; r < 8; r++) if (((tags >> (r * 2)) & 3) !== 3) out.valid |= 1 << r;
    out.bases.writeBigUInt64LE(cpu.segmentBase(SegmentIndex.fs), 0);
    out.bases.writeBigUInt64LE(cpu.segmentBase(SegmentIndex.gs), 8);
    for (let s = 0; s < 6; s++) out.selectors[s] = cpu.selector(s);
    out.gpr.set(u8.subarray(base + State.gpr, base + State.gpr + 128));
    out.x87.set(u8.subarray(base + State.fpr, base + State.fpr + 128));
    for (let r = 0; r < 8; r++) out.x87.fill(0, r * 16 + 10, r * 16 + 16);
    out.ymm.set(u8.subarray(base + State.ymm, base + State.ymm + 512));
    out.memory.set(this.data);
  }
}
