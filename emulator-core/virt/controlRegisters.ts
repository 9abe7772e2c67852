/**
 * MOV to and from control registers, LMSW, CLTS, INVLPG and INVPCID: what may be written, what follows from it for paging, and
 * which of them exit. SDM Vol. 3A, "Control Registers"; Vol. 2, "MOV—Move to/from Control Registers"; Vol. 3C, "Instructions That
 * Cause VM Exits".
 */
import type { Assist } from '../cpu/assists/operands';
import { privileged, readOperand } from '../cpu/assists/operands';
import type { CpuContext } from '../cpu/cpuContext';
import { forgetCpuid } from '../cpu/cpuidCache';
import { highOf, lowOf } from '../cpu/halves';
import { SegmentIndex, State, Uop } from '../cpu/layout';
import { Cr0, Cr4, Efer, GuestFault, Rights, Vector, type Vcpu } from '../cpu/vcpu';
import { Primary, Secondary } from './vmx/controls';
import { CrAccess, ExitReason, encodeCrQualification } from './vmx/exitReasons';
import type { Vmm } from './vmm';

export interface ControlRegisterHandlers {
  vmm: Vmm;
  apicTaskPriority(cpu: Vcpu): number;
  setApicTaskPriority(cpu: Vcpu, value: number): void;
  /**
   * Loads the PAE page-directory-pointer registers from where `cr3` points. False: malformed, #GP(0). Throws Abandon when they lie
   * outside of memory.
   */
  loadPointers(cpu: Vcpu, cr3: number): boolean;
  /** CR4 bits that CPUID's features let the guest set. */
  readonly cr4Allowed: number;
  /** Physical-address width in bits. */
  readonly maxPhysicalAddress: number;
}

/** CR0 bits that exist. Writes to the other ones of 31:0 have no effect. */
const CR0_DEFINED = Cr0.PE | Cr0.MP | Cr0.EM | Cr0.TS | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.AM | Cr0.NW | Cr0.CD | Cr0.PG;
/** What cached translations depend on. */
const CR0_TRANSLATION = Cr0.PG | Cr0.PE | Cr0.WP;
const CR4_TRANSLATION = Cr4.PSE | Cr4.PAE | Cr4.PGE | Cr4.LA57 | Cr4.PCIDE | Cr4.SMEP | Cr4.SMAP | Cr4.PKE | Cr4.PKS;
/** Changing one of these in PAE paging loads the PDPTE registers anew. SDM Vol. 3A, "PDPTE Registers". */
const CR0_POINTERS = Cr0.CD | Cr0.NW | Cr0.PG;
const CR4_POINTERS = Cr4.PAE | Cr4.PGE | Cr4.PSE | Cr4.SMEP;

/** With CR4.PCIDE, bit 63 of the source of MOV to CR3 asks to keep cached translations; it is not stored. */
const CR3_KEEP = 1n << 63n;

/** INVPCID's types. SDM Vol. 2, "INVPCID—Invalidate Process-Context Identifier". */
const InvpcidType = { address: 0, context: 1, allWithGlobals: 2, all: 3 } as const;

export function controlRegisterAssists(h: ControlRegisterHandlers): Record<string, Assist> {
  const { vmm } = h;
  const exit = (c: CpuContext, reason: number, qualification: bigint | number): void =>
    vmm.exit(c.cpu, reason, c.rip, { qualification, instructionLength: c.length });
  const refuse = (): never => {
    throw new GuestFault(Vector.GP, 0);
  };

  function read(c: CpuContext): void {
    privileged(c);
    const cpu = c.cpu;
    const number = c.registerOffset(1);
    const register = c.registerOffset(0) >> 3;
    const slot = { 0: State.cr0, 2: State.cr2, 3: State.cr3, 4: State.cr4 }[number];
    if (slot === undefined && number !== 8) throw new GuestFault(Vector.UD);
    const exits = number === 3 ? Primary.cr3StoreExiting : number === 8 ? Primary.cr8StoreExiting : 0;
    if (vmm.primary & exits)
      exit(c, ExitReason.crAccess, encodeCrQualification({ number, access: CrAccess.movFrom, register }));
    const value = slot === undefined ? BigInt(h.apicTaskPriority(cpu)) : cpu.get64(slot);
    cpu.setGprSized(register, value, cpu.bitness === 64 ? 8 : 4);
  }

  function write(c: CpuContext): void {
    privileged(c);
    const cpu = c.cpu;
    const number = c.registerOffset(0);
    const register = c.registerOffset(1) >> 3;
    const value = cpu.bitness === 64 ? cpu.gpr(register) : cpu.gpr(register) & 0xffffffffn;
    const leave = (): void =>
      exit(c, ExitReason.crAccess, encodeCrQualification({ number, access: CrAccess.movTo, register }));
    const low = cpu.gpr32(register);
    const changes = (slot: number, mask: number): boolean => ((low ^ cpu.get32(slot)) & mask) !== 0;
    switch (number) {
      case 0:
        if (changes(State.cr0, vmm.cr0Mask) || vmm.cr0Mask === 0xffffffff) leave();
        return setCr0(c, value);
      case 2:
        cpu.set64(State.cr2, value);
        return c.jump(c.nextRip);
      case 3:
        if (vmm.primary & Primary.cr3LoadExiting) leave();
        return setCr3(c, value);
      case 4:
        if (changes(State.cr4, vmm.cr4Mask) || vmm.cr4Mask === 0xffffffff) leave();
        return setCr4(c, value);
      case 8:
        if (vmm.primary & Primary.cr8LoadExiting) leave();
        if (value & ~15n) refuse();
        h.setApicTaskPriority(cpu, low);
        cpu.attention = true;
        return;
      default:
        throw new GuestFault(Vector.UD);
    }
  }

  /** The registers that the next instruction's PAE paging uses; #GP(0) when malformed. */
  function loadPointers(cpu: Vcpu, cr3: number): void {
    if (!h.loadPointers(cpu, cr3)) refuse();
  }
  const paePaging = (cr0: number, cr4: number, efer: number): boolean =>
    (cr0 & Cr0.PG) !== 0 && (cr4 & Cr4.PAE) !== 0 && !(efer & Efer.LMA);

  function setCr0(c: CpuContext, value: bigint): void {
    const cpu = c.cpu;
    if (value >> 32n) refuse();
    const bits = (Number(value) & CR0_DEFINED) | Cr0.ET;
    const before = cpu.cr0;
    if (bits & Cr0.PG && !(bits & Cr0.PE)) refuse();
    if (bits & Cr0.NW && !(bits & Cr0.CD)) refuse();
    const paging = (bits & Cr0.PG) !== 0;
    const pagingBefore = (before & Cr0.PG) !== 0;
    let efer = cpu.efer;
    if (paging && !pagingBefore && efer & Efer.LME) {
      if (!(cpu.cr4 & Cr4.PAE) || cpu.rights(SegmentIndex.cs) & Rights.L) refuse();
      // A 16-bit TSS, available or busy, has no place in IA-32e mode.
      if (((cpu.rights(SegmentIndex.tr) & Rights.typeMask) | 2) === 3) refuse();
      efer |= Efer.LMA;
    }
    if (!paging && pagingBefore) {
      if (cpu.cr4 & Cr4.PCIDE || cpu.bitness === 64) refuse();
      efer &= ~Efer.LMA;
    }
    const changed = bits ^ before;
    if (changed & CR0_POINTERS && paePaging(bits, cpu.cr4, efer)) loadPointers(cpu, cpu.get32(State.cr3));
    cpu.set32(State.efer, efer);
    // Entering protected mode keeps CPL 0 whatever SS says; real mode selectors have DPL 0.
    cpu.set64(State.cr0, BigInt(bits >>> 0));
    cpu.modeChanged();
    if (changed & CR0_TRANSLATION) c.flushTranslations();
  }

  function setCr3(c: CpuContext, value: bigint): void {
    const cpu = c.cpu;
    if (cpu.longMode) {
      // Those of all PCIDs are forgotten whether the guest wants to keep some or not: no guest can tell.
      if (cpu.cr4 & Cr4.PCIDE) value &= ~CR3_KEEP;
      if (value >> BigInt(h.maxPhysicalAddress)) refuse();
    } else if (paePaging(cpu.cr0, cpu.cr4, cpu.efer)) loadPointers(cpu, Number(value & 0xffffffffn));
    cpu.set64(State.cr3, value);
    c.flushLocalTranslations();
  }

  function setCr4(c: CpuContext, value: bigint): void {
    const cpu = c.cpu;
    if (value & ~BigInt(h.cr4Allowed >>> 0)) refuse();
    const bits = Number(value);
    const changed = bits ^ cpu.cr4;
    if (cpu.longMode && (!(bits & Cr4.PAE) || changed & Cr4.LA57)) refuse();
    if (changed & bits & Cr4.PCIDE && (!cpu.longMode || cpu.get32(State.cr3) & 0xfff)) refuse();
    if (changed & CR4_POINTERS && paePaging(cpu.cr0, bits, cpu.efer)) loadPointers(cpu, cpu.get32(State.cr3));
    cpu.set64(State.cr4, value);
    forgetCpuid(cpu);
    cpu.modeChanged();
    if (changed & CR4_TRANSLATION) c.flushTranslations();
  }

  function loadMachineStatus(c: CpuContext): void {
    privileged(c);
    const cpu = c.cpu;
    const source = Number(readOperand(c, 0, 2) & 0xfn);
    const changed = (cpu.cr0 ^ source) & 0xf & vmm.cr0Mask;
    if (changed) {
      const q = { number: 0, access: CrAccess.lmsw, lmswSource: source, lmswMemory: c.hasMemory };
      exit(c, ExitReason.crAccess, encodeCrQualification(q));
    }
    // LMSW sets PE but never clears it.
    const kept = cpu.cr0 & ~(Cr0.MP | Cr0.EM | Cr0.TS);
    setCr0(c, BigInt((kept | source) >>> 0));
  }

  function clearTaskSwitched(c: CpuContext): void {
    privileged(c);
    if (vmm.cr0Mask & Cr0.TS && c.cpu.cr0 & Cr0.TS) {
      exit(c, ExitReason.crAccess, encodeCrQualification({ number: 0, access: CrAccess.clts }));
    }
    c.cpu.set64(State.cr0, BigInt((c.cpu.cr0 & ~Cr0.TS) >>> 0));
    // Vector instructions were decoded as #NM: the code that follows is looked up anew.
    c.cpu.modeChanged();
    c.jump(c.nextRip);
  }

  function invalidatePage(c: CpuContext): void {
    privileged(c);
    const flat = c.flatAddress;
    if (flat && !(vmm.primary & Primary.invlpgExiting)) {
      if (c.flushPage(flat.low, flat.high)) c.jump(c.nextRip);
      return;
    }
    const struct = c.segmentOfOperand();
    const linear = BigInt.asUintN(
      c.cpu.bitness === 64 ? 64 : 32,
      c.effectiveAddress() + (struct === State.flatSegment ? 0n : c.cpu.segmentBase((struct - State.segments) / 64)),
    );
    if (vmm.primary & Primary.invlpgExiting) exit(c, ExitReason.invlpg, linear);
    if (c.flushPage(lowOf(linear), highOf(linear))) c.jump(c.nextRip);
  }

  function invalidateContext(c: CpuContext): void {
    const cpu = c.cpu;
    if (!(vmm.secondary & Secondary.enableInvpcid)) throw new GuestFault(Vector.UD);
    // In virtual-8086 mode, too: CPL is 3 there.
    privileged(c);
    const displacement = cpu.memory.i64[(c.uop + Uop.displacement) >> 3];
    const linear = c.linear(16, false);
    if (vmm.primary & Primary.invlpgExiting) exit(c, ExitReason.invpcid, BigInt.asUintN(64, displacement));
    const type = cpu.gpr(c.registerOffset(0) >> 3) & (cpu.bitness === 64 ? ~0n : 0xffffffffn);
    if (type > BigInt(InvpcidType.all)) refuse();
    const pcid = c.read(linear, 8);
    const address = c.read(linear + 8n, 8);
    if (pcid >> 12n) refuse();
    const one = type === BigInt(InvpcidType.address) || type === BigInt(InvpcidType.context);
    if (one && pcid && !(cpu.cr4 & Cr4.PCIDE)) refuse();
    if (type === BigInt(InvpcidType.address) && !cpu.canonicalBase(address)) refuse();
    // Whatever the PCID: nothing is cached of others than the present one.
    if (type === BigInt(InvpcidType.address)) c.flushPage(lowOf(address), cpu.longMode ? highOf(address) : 0);
    else if (type === BigInt(InvpcidType.allWithGlobals)) c.flushTranslations();
    else c.flushLocalTranslations();
  }

  return {
    readControlRegister: read,
    writeControlRegister: write,
    loadMachineStatus,
    clearTaskSwitched,
    invalidatePage,
    invalidateContext,
  };
}
