/** What far returns and IRET do when they lower privilege. SDM Vol. 2, RET and IRET, RETURN-TO-OUTER-PRIVILEGE-LEVEL. */
import type { CpuContext } from '../cpuContext';
import {
  DEFAULT_BIG,
  descriptorBase,
  descriptorLimit,
  descriptorRights,
  dpl,
  errorOf,
  isNull,
  isPresent,
  isWritable,
  markAccessed,
  readDescriptor,
  rpl,
} from '../descriptors';
import { SegmentIndex } from '../layout';
import { GuestFault, Rights, Vector } from '../vcpu';

const { ss: SS } = SegmentIndex;
const RSP = 4;
const ONES = 0xffffffffffffffffn;

/**
 * Checks SS:rSP of a return to privilege level `cpl`; `load` then sets them. `long`: the code returned to is 64-bit code, where the
 * null selector is a stack segment of levels 0 to 2.
 */
export function loadOuterStack(
  c: CpuContext,
  selector: number,
  pointer: bigint,
  cpl: number,
  long: boolean,
): { load: () => void } {
  const cpu = c.cpu;
  if (isNull(selector)) {
    if (!long || cpl === 3 || rpl(selector) !== cpl) throw new GuestFault(Vector.GP, 0);
    return {
      load: () => {
        cpu.setSegment(SS, selector, 0n, 0, Rights.unusable | (cpl << Rights.dplShift));
        cpu.setGpr(RSP, BigInt.asUintN(64, pointer));
      },
    };
  }
  const error = errorOf(selector);
  const d = readDescriptor(c, selector, Vector.GP);
  if (rpl(selector) !== cpl || !isWritable(d) || dpl(d) !== cpl) throw new GuestFault(Vector.GP, error);
  if (!isPresent(d)) throw new GuestFault(Vector.SS, error);
  markAccessed(c, d);
  return {
    load: () => {
      cpu.setSegment(SS, selector, BigInt(descriptorBase(d)), descriptorLimit(d), descriptorRights(d));
      const mask = long ? ONES : d.high & DEFAULT_BIG ? 0xffffffffn : 0xffffn;
      cpu.setGpr(RSP, (cpu.gpr(RSP) & ~mask & ONES) | (pointer & mask));
    },
  };
}

/** Data segments that the outer level may not use become null. Their bases stay: 64-bit code goes on using those of FS and GS. */
export function dropInnerSegments(c: CpuContext, cpl: number): void {
  const cpu = c.cpu;
  for (const s of [SegmentIndex.es, SegmentIndex.fs, SegmentIndex.gs, SegmentIndex.ds]) {
    const rights = cpu.rights(s);
    if (rights & Rights.unusable) continue;
    const conforming = (rights & 0x1c) === 0x1c;
    if (conforming || ((rights >> Rights.dplShift) & 3) >= cpl) continue;
    cpu.setSegment(s, 0, cpu.segmentBase(s), cpu.segmentLimit(s), rights | Rights.unusable);
  }
}
