/** The VMCS guest-state area, field by field, as it follows from the vCPU. SDM Vol. 3C, "Guest-State Area". */
import { SegmentIndex, State, type SegmentName } from '../cpu/layout';
import { Cr0, Cr4, Flag, type Vcpu } from '../cpu/vcpu';
import { Field, guestSegmentFields } from './vmx/vmcsFields';

type Read = (cpu: Vcpu) => bigint | number;

const SEGMENTS = Object.keys(SegmentIndex) as SegmentName[];

const activity: Record<Vcpu['activity'], number> = { active: 0, halted: 1, shutdown: 2, 'wait-for-sipi': 3 };

const slots: [number, number][] = [
  [Field.GUEST_CR3, State.cr3],
  [Field.GUEST_IA32_EFER, State.efer],
  [Field.GUEST_IA32_PAT, State.pat],
  [Field.GUEST_GDTR_BASE, State.gdtrBase],
  [Field.GUEST_GDTR_LIMIT, State.gdtrLimit],
  [Field.GUEST_IDTR_BASE, State.idtrBase],
  [Field.GUEST_IDTR_LIMIT, State.idtrLimit],
  [Field.GUEST_DR7, State.dr + 7 * 8],
  [Field.GUEST_RSP, State.gpr + 4 * 8],
  [Field.GUEST_RIP, State.rip],
  [Field.GUEST_SYSENTER_CS, State.sysenterCs],
  [Field.GUEST_SYSENTER_ESP, State.sysenterEsp],
  [Field.GUEST_SYSENTER_EIP, State.sysenterEip],
];

/** Encoding of each field and how to read it. */
export const GUEST_FIELDS: readonly [encoding: number, read: Read][] = [
  ...slots.map(([encoding, slot]): [number, Read] => [encoding, (cpu) => cpu.get64(slot)]),
  // VMX operation fixes CR0.NE and CR4.VMXE to 1; the guest sees its own values through the read shadows.
  [Field.GUEST_CR0, (cpu) => (cpu.cr0 | Cr0.NE) >>> 0],
  [Field.GUEST_CR4, (cpu) => (cpu.cr4 | Cr4.VMXE) >>> 0],
  // In use by PAE paging alone.
  [Field.GUEST_PDPTE0, (cpu) => cpu.get64(State.pdpte)],
  [Field.GUEST_PDPTE1, (cpu) => cpu.get64(State.pdpte + 8)],
  [Field.GUEST_PDPTE2, (cpu) => cpu.get64(State.pdpte + 16)],
  [Field.GUEST_PDPTE3, (cpu) => cpu.get64(State.pdpte + 24)],
  [Field.GUEST_RFLAGS, (cpu) => cpu.rflags],
  [Field.GUEST_ACTIVITY, (cpu) => activity[cpu.activity]],
  // Bit 0: blocking by STI. The shadow of MOV SS is bit 1; both end with the next instruction.
  [Field.GUEST_INTERRUPTIBILITY, (cpu) => (cpu.shadowUntil >= 0 && cpu.systemFlags & Flag.IF ? 1 : 0)],
  ...SEGMENTS.flatMap((name): [number, Read][] => {
    const fields = guestSegmentFields(name.toUpperCase() as Parameters<typeof guestSegmentFields>[0]);
    const index = SegmentIndex[name];
    return [
      [fields.selector, (cpu) => cpu.selector(index)],
      [fields.base, (cpu) => cpu.segmentBase(index)],
      [fields.limit, (cpu) => cpu.segmentLimit(index)],
      [fields.accessRights, (cpu) => cpu.rights(index)],
    ];
  }),
];
