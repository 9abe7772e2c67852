/**
 * VMMCALL on an Intel processor is #UD; KVM intercepts that, replaces the instruction by VMCALL and runs it again.
 * Source: Linux Documentation/virt/kvm/x86/hypercalls.rst; virt/kvm/api.rst, KVM_X86_QUIRK_FIX_HYPERCALL_INSN.
 */
import type { CpuContext } from '../../cpu/cpuContext';
import { SegmentIndex } from '../../cpu/layout';
import { Abandon, Vector } from '../../cpu/vcpu';
import type { Vmm } from '../../virt/vmm';
import { encodeInterruptionInformation, ExitReason, InterruptionType } from '../../virt/vmx/exitReasons';

/** 0F 01 D9 is VMMCALL, 0F 01 C1 VMCALL. */
const VMCALL_LAST = 0xc1n;

/** Throws Abandon: the vCPU fetches the instruction again. GuestFault #PF where the guest itself may not write its code. */
export function fixHypercall(c: CpuContext, vmm: Vmm): never {
  const { cpu } = c;
  const information = encodeInterruptionInformation(Vector.UD, InterruptionType.hardwareException, false);
  vmm.exit(cpu, ExitReason.exceptionOrNmi, c.rip, { interruptionInfo: information });
  const base = cpu.bitness === 64 ? 0n : cpu.segmentBase(SegmentIndex.cs);
  c.write(c.rip + base + BigInt(c.length - 1), VMCALL_LAST, 1);
  throw new Abandon();
}
