/** The vCPU's registers as the BIOS services see them. */
import type { BiosRegister, BiosRegisters, BiosSegment } from '../boot/biosMachine';
import { SegmentIndex } from './layout';
import type { Vcpu } from './vcpu';

const NUMBER: Record<BiosRegister, number> = { eax: 0, ecx: 1, edx: 2, ebx: 3, esp: 4, ebp: 5, esi: 6, edi: 7 };

export function biosRegisters(cpu: Vcpu): BiosRegisters {
  return {
    get: (register) => cpu.gpr32(NUMBER[register]),
    set: (register, value) => cpu.setGpr32(NUMBER[register], value >>> 0),
    segmentBase: (segment: BiosSegment) => Number(cpu.segmentBase(SegmentIndex[segment])),
    setSegment: (segment, selector) => {
      const index = SegmentIndex[segment];
      cpu.setSegment(index, selector, BigInt(selector << 4), cpu.segmentLimit(index), cpu.rights(index));
      cpu.modeChanged();
    },
  };
}
