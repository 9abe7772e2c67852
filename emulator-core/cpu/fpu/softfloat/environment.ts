/** How SSE and AVX floating-point instructions round and report. SDM Vol. 1, "MXCSR Control and Status Register". */
import { Exception } from '../float80';

export { Exception, Rounding } from '../float80';

/** Fields of MXCSR. The exception flags are bits 5:0, in the order of Exception; their masks follow from bit 7 on. */
export const Mxcsr = {
  flags: 0x3f,
  daz: 1 << 6,
  maskShift: 7,
  roundingShift: 13,
  ftz: 1 << 15,
  /** Bits that LDMXCSR accepts; any other is #GP(0). */
  valid: 0xffff,
  /** Rounds to nearest, masks everything and has the precision flag: then rounding is that of WebAssembly and changes no flag. */
  nativeFields: 0x7fa0,
  native: 0x1fa0,
} as const;

/** Exceptions found in operands. When one is unmasked, no lane's result is computed and none of the others is reported. */
export const BEFORE = Exception.IE | Exception.DE | Exception.ZE;

/** Control fields of MXCSR and the exceptions that one operation on one lane has met. */
export class FloatEnvironment {
  /** One of Rounding. */
  rounding = 0;
  daz = false;
  ftz = false;
  /** Masked exceptions (Exception bits). */
  masks = Exception.IE | Exception.DE | Exception.ZE | Exception.OE | Exception.UE | Exception.PE;
  /** Exceptions met. */
  flags = 0;

  /** Takes the control fields of MXCSR; `flags` start empty. */
  load(mxcsr: number): void {
    this.rounding = (mxcsr >> Mxcsr.roundingShift) & 3;
    this.daz = (mxcsr & Mxcsr.daz) !== 0;
    this.ftz = (mxcsr & Mxcsr.ftz) !== 0;
    this.masks = (mxcsr >> Mxcsr.maskShift) & Mxcsr.flags;
    this.flags = 0;
  }
}
