/** The state that a boot protocol demands, given to a vCPU. */
import type { EntryState } from '../boot/boot';
import { SegmentIndex, State, type SegmentName } from './layout';
import type { Vcpu } from './vcpu';

/** Gives the boot processor the state that the boot protocol demands. */
export function applyEntry(cpu: Vcpu, entry: EntryState): void {
  const gpr = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'] as const;
  gpr.forEach((name, i) => cpu.setGpr(i, BigInt(entry.registers[name] ?? 0)));
  cpu.set64(State.cr0, BigInt(entry.cr0 >>> 0));
  cpu.set64(State.cr3, BigInt(entry.cr3));
  cpu.set64(State.cr4, BigInt(entry.cr4));
  cpu.set64(State.efer, BigInt(entry.efer));
  cpu.set64(State.gdtrBase, BigInt(entry.gdtr.base));
  cpu.set64(State.gdtrLimit, BigInt(entry.gdtr.limit));
  cpu.set64(State.idtrBase, BigInt(entry.idtr.base));
  cpu.set64(State.idtrLimit, BigInt(entry.idtr.limit));
  for (const [name, s] of Object.entries(entry.segments)) {
    cpu.setSegment(SegmentIndex[name as SegmentName], s.selector, BigInt(s.base), s.limit, s.attributes);
  }
  cpu.rflags = entry.rflags;
  cpu.rip = BigInt(entry.rip);
  cpu.modeChanged();
}
