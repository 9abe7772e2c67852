/**
 * Instructions that always exit to the VMM and whose exits nobody has to look at: the handler records them and does what the VMM
 * would. All else is the assist's.
 */
import { CPUID_KEY, CpuidAnswer, State } from '../cpu/layout';
import { PORT_COUNT } from '../devices/bus';
import { EXIT_LOG_SIZE, ExitLogLayout, ExitRow } from '../virt/exitRow';
import type { SemanticsBuilder } from './semanticsBuilder';
import { cpu, state } from './operands';
import { i32, i32c, i64, i64c, type Expr } from './wasm';

const [RAX, RCX, RDX, RBX] = [0, 1, 2, 3];

/**
 * Records an exit, as Vmm.tryExit does.
 * @param qualification i64
 * @param access of an access to memory: its linear and guest-physical address, i64
 */
export function emitExit(
  b: SemanticsBuilder,
  reason: number,
  qualification: Expr,
  access?: { linear: Expr; physical: Expr },
): void {
  const { f } = b;
  const log = b.let(i32.load(cpu, State.exitLog));
  const seq = b.let(i64.load(log, ExitLogLayout.next));
  const number = b.let(i64.add(seq, i64c(1)));
  i64.store(log, number, ExitLogLayout.next)(f);
  i64.store(cpu, number, State.lastExit)(f);
  const count = ExitLogLayout.counts + reason * 8;
  i64.store(log, i64.add(i64.load(log, count), i64c(1)), count)(f);
  const slot = i32.and(i32.wrap(seq), i32c(EXIT_LOG_SIZE - 1));
  const row = b.let(i32.add(i32.add(log, i32.shl(slot, i32c(Math.log2(ExitRow.size)))), i32c(ExitLogLayout.rows)));
  const put = (offset: number, value: Expr): void => i64.store(row, value, offset)(f);
  put(ExitRow.number, number);
  put(ExitRow.icount, i64.sub(state(State.icountEnd), i64.extendU(b.charged())));
  put(ExitRow.cpu, i64.or(i64.load32u(cpu, State.index), i64c(BigInt(reason) << 32n)));
  // The other half is 0: no firmware's.
  put(ExitRow.instructionLength, access ? i64c(0) : b.fields.length());
  put(ExitRow.rip, i64.and(i64.sub(b.fields.next(), b.fields.length()), state(State.linearMask)));
  put(ExitRow.qualification, qualification);
  put(ExitRow.rax, b.gpr(RAX));
  put(ExitRow.rcx, b.gpr(RCX));
  put(ExitRow.rdx, b.gpr(RDX));
  for (let offset: number = ExitRow.instructionInfo; offset < ExitRow.guestLinear; offset += 8) put(offset, i64c(0));
  put(ExitRow.guestLinear, access?.linear ?? i64c(0));
  put(ExitRow.guestPhysical, access?.physical ?? i64c(0));
  put(ExitRow.rbx, i64c(0));
  put(ExitRow.rsi, i64c(0));
}

/** CPUID, where the answer is known. */
export function emitCpuid(b: SemanticsBuilder, reason: number): void {
  const leaf = b.let(i32.wrap(b.reg(RAX, 32)));
  const subleaf = b.let(i32.wrap(b.reg(RCX, 32)));
  const hash = i32.xor(i32.xor(leaf, i32.shrU(leaf, i32c(28))), subleaf);
  const index = i32.and(hash, i32c(CpuidAnswer.entries - 1));
  const entry = b.let(i32.add(cpu, i32.shl(index, i32c(Math.log2(CpuidAnswer.size)))));
  const answer = (offset: number): Expr => i32.load(entry, State.cpuid + offset);
  const other = CPUID_KEY.map((slot, i) => i32.xor(i32.load(cpu, slot), i32.load(cpu, State.cpuidKey + 4 * i)));
  other.push(i32.xor(answer(CpuidAnswer.leaf), leaf), i32.xor(answer(CpuidAnswer.subleaf), subleaf));
  other.push(i32.eqz(answer(CpuidAnswer.known)), i32.load(cpu, State.exitsAsked));
  b.assistWhen(other.reduce((a, e) => i32.or(a, e)));
  emitExit(b, reason, i64c(0));
  const registers = [CpuidAnswer.eax, CpuidAnswer.ebx, CpuidAnswer.ecx, CpuidAnswer.edx];
  [RAX, RBX, RCX, RDX].forEach((register, i) => b.setReg(register, 32, i64.load32u(entry, State.cpuid + registers[i])));
}

/** Index of a CPUID answer, as emitCpuid finds it. */
export function cpuidEntry(leaf: number, subleaf: number): number {
  return (leaf ^ (leaf >>> 28) ^ subleaf) & (CpuidAnswer.entries - 1);
}

/**
 * A byte to a port that keeps it and does nothing more (PortOptions.keeps).
 * @param port i32
 * @param qualification i64
 */
export function emitPortByte(b: SemanticsBuilder, reason: number, port: Expr, qualification: Expr): void {
  const at = b.let(i32.add(i32.load(cpu, State.ports), port));
  b.assistWhen(i32.or(i32.load(cpu, State.exitsAsked), i32.eqz(i32.load8u(at, 0))));
  emitExit(b, reason, qualification);
  i32.store8(at, i32.wrap(b.reg(RAX, 8)), PORT_COUNT)(b.f);
}
