/**
 * The breakpoints of DR0-DR3, as DR7 arms them, and the bits of DR6. What is armed is worked out when a debug register changes; the
 * core then keeps the pages concerned off its fast paths, so that nothing is paid while no breakpoint is armed.
 * SDM Vol. 3B, "Debug Registers" and "Debug Exceptions".
 */
import { PAGE, State } from './layout';
import type { Vcpu } from './vcpu';

/** DR6. B0-B3 are bits 0-3. */
export const DebugStatus = { BD: 1 << 13, BS: 1 << 14, BT: 1 << 15, breakpoints: 15 } as const;
/** DR7: general detect enable. */
export const GENERAL_DETECT = 1 << 13;

/** The R/W fields of DR7. */
const Access = { execute: 0, write: 1, port: 2, readWrite: 3 } as const;
/** By the LEN fields of DR7. */
const LENGTHS = [1, 2, 8, 4] as const;

/**
 * DR6 gets the reasons of a #DB: B0-B3 anew, the others added; general detect is off in the handler. SDM Vol. 3B, "Debug Status
 * Register (DR6)".
 */
export function reportDebug(cpu: Vcpu, bits: number): void {
  const [dr6, dr7] = [State.dr + 6 * 8, State.dr + 7 * 8];
  cpu.set64(dr6, (cpu.get64(dr6) & ~BigInt(DebugStatus.breakpoints)) | BigInt(bits));
  cpu.set64(dr7, cpu.get64(dr7) & ~BigInt(GENERAL_DETECT));
}

interface Breakpoint {
  /** Its bit in DR6. */
  bit: number;
  access: number;
  /** Aligned to the length: the processor ignores the address bits below. */
  address: bigint;
  length: number;
}

export interface CodeBreakpoints {
  key: string;
  offsets: ReadonlySet<number>;
}

export class DebugRegisters {
  /** Linear pages (address bits 63..12) with data breakpoints. */
  readonly dataPages = new Set<number>();
  private readonly codePages = new Map<number, { key: string; offsets: Set<number> }>();
  private armed: Breakpoint[] = [];

  constructor(private readonly cpu: Vcpu) {}

  private register(n: number): bigint {
    return this.cpu.get64(State.dr + n * 8);
  }

  /** DR0-DR3, DR7 or CR4.DE changed. */
  update(): void {
    this.armed = [];
    this.dataPages.clear();
    this.codePages.clear();
    const control = this.cpu.get32(State.dr + 7 * 8);
    if (!(control & 0xff)) return;
    for (let n = 0; n < 4; n++) {
      if (!((control >>> (n * 2)) & 3)) continue;
      const length = LENGTHS[(control >>> (18 + n * 4)) & 3];
      const address = this.register(n) & ~BigInt(length - 1);
      this.arm({ bit: 1 << n, access: (control >>> (16 + n * 4)) & 3, address, length });
    }
  }

  private arm(breakpoint: Breakpoint): void {
    const { address, access } = breakpoint;
    this.armed.push(breakpoint);
    const page = Number(address >> 12n);
    if (access === Access.execute) {
      const offset = Number(address % BigInt(PAGE));
      const entry = this.codePages.get(page) ?? { key: 'dr', offsets: new Set() };
      entry.offsets.add(offset);
      entry.key += ` ${page.toString(16)}:${offset}`;
      this.codePages.set(page, entry);
    } else if (access !== Access.port) this.dataPages.add(page);
  }

  /** Any instruction breakpoint is armed. */
  get breaksInstructions(): boolean {
    return this.codePages.size > 0;
  }

  /** Page offsets with instruction breakpoints on a linear page (address bits 63..12). */
  codeOn(page: number): CodeBreakpoints | undefined {
    return this.codePages.size ? this.codePages.get(page) : undefined;
  }

  private matching(first: bigint, bytes: number, wanted: (access: number) => boolean): number {
    let bits = 0;
    for (const { bit, access, address, length } of this.armed) {
      const overlaps = first < address + BigInt(length) && address < first + BigInt(bytes);
      if (overlaps && wanted(access)) bits |= bit;
    }
    return bits;
  }

  /** DR6 bits of the instruction breakpoints at `linear`. */
  instruction(linear: bigint): number {
    return this.matching(linear, 1, (access) => access === Access.execute);
  }

  /** DR6 bits of the data breakpoints that an access touches. */
  data(linear: bigint, bytes: number, write: boolean): number {
    return this.matching(linear, bytes, (access) => access === Access.readWrite || (write && access === Access.write));
  }

  /** DR6 bits of the I/O breakpoints that a port access touches: with CR4.DE only. */
  port(port: number, bytes: number, debugExtensions: boolean): number {
    if (!this.armed.length || !debugExtensions) return 0;
    return this.matching(BigInt(port), bytes, (access) => access === Access.port);
  }
}
