/**
 * XSAVE state components: what XCR0 may enable, and how large the XSAVE area is. SDM Vol. 1, "XSAVE-Supported Features and
 * State-Component Bitmaps" and "XSAVE Area". Offsets and sizes in bytes. There are no supervisor components (IA32_XSS is zero).
 */

export interface StateComponent {
  /** In XCR0, XSTATE_BV and XCOMP_BV. */
  readonly bit: number;
  readonly name: string;
  /** CPUID feature that brings it. */
  readonly feature: string;
  readonly size: number;
  /** In the standard format. */
  readonly offset: number;
}

/** x87 (bit 0) and SSE (bit 1) are in the legacy region. */
export const LEGACY_SIZE = 512;
export const HEADER_SIZE = 64;
export const X87_COMPONENT = 1;
export const SSE_COMPONENT = 2;

/** The extended region's, by rising bit. None wants its place in the compacted format aligned to 64 bytes. */
export const STATE_COMPONENTS: readonly StateComponent[] = [
  { bit: 2, name: 'AVX', feature: 'avx', size: 256, offset: 576 },
  // Where processors with AVX-512 have it, too.
  { bit: 9, name: 'PKRU', feature: 'pku', size: 8, offset: 2688 },
];

/** The bits of XCR0 that may be set. */
export function supportedComponents(features: ReadonlySet<string>): number {
  if (!features.has('xsave')) return X87_COMPONENT;
  let mask = X87_COMPONENT | (features.has('sse') ? SSE_COMPONENT : 0);
  for (const { bit, feature } of STATE_COMPONENTS) if (features.has(feature)) mask |= 1 << bit;
  return mask;
}

/** XSETBV takes `value` for XCR0; else #GP(0). SDM Vol. 2, "XSETBV—Set Extended Control Register". */
export function validXcr0(features: ReadonlySet<string>, value: bigint): boolean {
  if (value & ~BigInt(supportedComponents(features)) || !(value & 1n)) return false;
  // AVX state includes the XMM registers.
  return (value & 6n) !== 4n;
}

/** Size of an XSAVE area in the standard format with the components of `mask`. */
export function standardSize(mask: number): number {
  let size = LEGACY_SIZE + HEADER_SIZE;
  for (const c of STATE_COMPONENTS) if (mask & (1 << c.bit)) size = Math.max(size, c.offset + c.size);
  return size;
}

/** Offset of component `bit` in the standard format. */
export function standardOffset(bit: number): number {
  return STATE_COMPONENTS.find((c) => c.bit === bit)!.offset;
}

/** Offset of component `bit` in the compacted format of `mask`; with a bit above all of them, the area's size. */
export function compactedOffset(mask: number, bit: number): number {
  let offset = LEGACY_SIZE + HEADER_SIZE;
  for (const c of STATE_COMPONENTS) if (c.bit < bit && mask & (1 << c.bit)) offset += c.size;
  return offset;
}
export function compactedSize(mask: number): number {
  return compactedOffset(mask, 32);
}
