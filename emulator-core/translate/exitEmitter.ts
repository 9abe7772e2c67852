/**
 * Instructions that always exit to the VMM and whose exits nobody has to look at: the handler records them and does what the VMM
 * would. All else is the assist's.
 */
import { CpuidAnswer, PAGE, State, Tlb } from '../cpu/layout';
import { APIC_PLAIN_REGISTERS } from '../devices/apicRegisters';
import { PORT_COUNT } from '../devices/bus';
import { EXIT_LOG_SIZE, ExitAddresses, ExitHead, ExitLogLayout, ExitPart, ExitRow } from '../virt/exitRow';
import { EptAccess } from '../virt/vmx/ept';
import { ExitReason, encodeEptViolationQualification } from '../virt/vmx/exitReasons';
import type { SemanticsBuilder } from './semanticsBuilder';
import { cpu, state } from './operands';
import { i32, i32c, i64, i64c, type Expr } from './wasm';

const [RAX, RCX, RDX, RBX] = [0, 1, 2, 3];

/** The log of exits before one: its address, the seq that comes, and whether exits are for TypeScript alone (i32). */
interface LogBefore {
  log: Expr;
  seq: Expr;
  asked: Expr;
}

function logBefore(b: SemanticsBuilder): LogBefore {
  const log = b.let(i32.load(cpu, State.exitLog));
  const seq = b.let(i64.load(log, ExitLogLayout.next));
  return { log, seq, asked: i64.geU(seq, i64.load(log, ExitLogLayout.limit)) };
}

/**
 * Records an exit, as Vmm.tryExit does.
 * @param qualification i64
 * @param access of an access to memory: its linear and guest-physical address, i64
 */
function emitExit(
  b: SemanticsBuilder,
  { log, seq }: LogBefore,
  reason: number,
  qualification: Expr,
  access?: { linear: Expr; physical: Expr },
): void {
  const { f } = b;
  const number = b.let(i64.add(seq, i64c(1)));
  i64.store(log, number, ExitLogLayout.next)(f);
  i64.store(cpu, number, State.lastExit)(f);
  const count = ExitLogLayout.counts + reason * 8;
  i64.store(log, i64.add(i64.load(log, count), i64c(1)), count)(f);
  const slot = b.let(i32.and(i32.wrap(seq), i32c(EXIT_LOG_SIZE - 1)));
  const row = b.let(i32.add(log, i32.shl(slot, i32c(Math.log2(ExitRow.size)))));
  const put = (offset: number, value: Expr): void => i64.store(row, value, ExitLogLayout.rows + offset)(f);
  put(ExitRow.number, number);
  put(ExitRow.icount, i64.sub(state(State.icountEnd), i64.extendU(b.charged())));
  // Head and reason at once.
  const parts = access ? ExitPart.addresses : 0;
  const fixed = i64c((BigInt(reason) << 32n) | (BigInt(parts) << BigInt(ExitHead.parts)));
  const length = access ? i64c(0) : i64.shl(b.fields.length(), i64c(ExitHead.instructionLength));
  put(ExitRow.head, i64.or(i64.load32u(cpu, State.index), i64.or(length, fixed)));
  put(ExitRow.rip, i64.and(i64.sub(b.fields.next(), b.fields.length()), state(State.linearMask)));
  put(ExitRow.qualification, qualification);
  put(ExitRow.rax, b.gpr(RAX));
  put(ExitRow.rcx, b.gpr(RCX));
  put(ExitRow.rdx, b.gpr(RDX));
  if (!access) return;
  const addresses = b.let(i32.add(log, i32.shl(slot, i32c(Math.log2(ExitAddresses.size)))));
  i64.store(addresses, access.linear, ExitLogLayout.addresses + ExitAddresses.guestLinear)(f);
  i64.store(addresses, access.physical, ExitLogLayout.addresses + ExitAddresses.guestPhysical)(f);
}

/** CPUID, where the answer is known. */
export function emitCpuid(b: SemanticsBuilder, reason: number): void {
  const leaf = b.let(i32.wrap(b.reg(RAX, 32)));
  const subleaf = b.let(i32.wrap(b.reg(RCX, 32)));
  // As cpuidEntry().
  const index = i32.and(i32.xor(leaf, i32.shrU(leaf, i32c(28))), i32c(CpuidAnswer.entries - 1));
  const entry = b.let(i32.add(cpu, i32.shl(index, i32c(Math.log2(CpuidAnswer.size)))));
  const answer = (offset: number): Expr => i32.load(entry, State.cpuid + offset);
  const unknown = i32.or(i32.xor(answer(CpuidAnswer.leaf), leaf), i32.xor(answer(CpuidAnswer.subleaf), subleaf));
  const before = logBefore(b);
  b.assistWhen(i32.or(unknown, before.asked));
  emitExit(b, before, reason, i64c(0));
  const registers = [CpuidAnswer.eax, CpuidAnswer.ebx, CpuidAnswer.ecx, CpuidAnswer.edx];
  [RAX, RBX, RCX, RDX].forEach((register, i) => b.setReg(register, 32, i64.load32u(entry, State.cpuid + registers[i])));
}

/**
 * A byte to a port that keeps it and does nothing more (PortOptions.keeps).
 * @param port i32
 * @param qualification i64
 */
export function emitPortByte(b: SemanticsBuilder, reason: number, port: Expr, qualification: Expr): void {
  const at = b.let(i32.add(i32.load(cpu, State.ports), port));
  const before = logBefore(b);
  b.assistWhen(i32.or(before.asked, i32.eqz(i32.load8u(at, 0))));
  emitExit(b, before, reason, qualification);
  i32.store8(at, i32.wrap(b.reg(RAX, 8)), PORT_COUNT)(b.f);
}

/**
 * A read of 32 bits that misses the soft TLB, of a register of the local APIC that reads find as it is kept. `other`: it is anything else
 * (i32). `read` records the exit and gives the value.
 * @param linear i64
 * @param entry the soft TLB's entry for it, i32
 */
export function plainRead(b: SemanticsBuilder, linear: Expr, entry: Expr): { other: Expr; read(): Expr } {
  const device = i64.or(i64.and(linear, i64c(-PAGE)), i64c(Tlb.device));
  const page = b.let(i32.load(entry, Tlb.addend));
  const offset = b.let(i32.and(i32.wrap(linear), i32c(PAGE - 1)));
  const plain = i64.and(i64.shrU(i64c(APIC_PLAIN_REGISTERS), i64.extendU(i32.shrU(offset, i32c(4)))), i64c(1));
  const before = logBefore(b);
  const other = [
    i64.ne(i64.load(entry, Tlb.tagRead), device),
    i32.ne(page, i32.load(cpu, State.plainPage)),
    before.asked,
    // No multiple of 16 below 400h.
    i32.and(offset, i32c(0xc0f)),
    i64.eqz(plain),
  ].reduce((a, e) => i32.or(a, e));
  const read = (): Expr => {
    const physical = i64.or(i64.shl(i64.extendU(page), i64c(12)), i64.extendU(offset));
    const qualification = i64c(encodeEptViolationQualification(EptAccess.read, 0, 'page'));
    emitExit(b, before, ExitReason.eptViolation, qualification, { linear, physical });
    return i64.load32u(i32.add(cpu, i32.shrU(offset, i32c(2))), State.apic);
  };
  return { other, read };
}
