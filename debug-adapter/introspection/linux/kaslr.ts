/**
 * How far KASLR has moved the kernel from where it was linked: the kernel's banner is looked for where KASLR may have put it.
 * Linux, arch/x86/boot/compressed/kaslr.c: the offset is a multiple of CONFIG_PHYSICAL_ALIGN (at least 2 MiB), and the kernel stays within
 * KERNEL_IMAGE_SIZE (1 GiB; 512 MiB for 32 bits).
 */
import type { HitContext, Target } from '../../target';

const STEP = 0x200000n;
const RANGE = { wide: 1n << 30n, narrow: 1n << 29n };
const CR0_PG = 1n << 31n;

/** How a kernel is recognized, in terms of the addresses that it was linked at. */
export interface KernelSignature {
  wide: boolean;
  /** The first bytes of linux_banner, and its address. */
  banner: Uint8Array;
  bannerAddress: bigint;
  /** Lowest address of its code. */
  lowest: bigint;
  /** Where the processor goes on a system call. */
  systemCall?: { register: string; address: bigint };
}

export interface KernelPlace {
  /** Address at run time less address as linked. */
  offset: bigint;
  /** For people: what told. */
  how: string;
}

/** The kernel's offset as `cpu` sees memory now; undefined where the kernel is not mapped (yet), or is not this one. */
export async function findPlace(
  target: Target,
  cpu: number,
  signature: KernelSignature,
): Promise<KernelPlace | undefined> {
  if (((await target.readRegister(cpu, 'cr0')) & CR0_PG) === 0n) return undefined;
  const { banner, bannerAddress, wide } = signature;
  const range = wide ? RANGE.wide : RANGE.narrow;
  for (let offset = 0n; offset < range; offset += STEP) {
    const address = bannerAddress + offset;
    const bytes = await target.readMemory('virtual', cpu, address, banner.length);
    if (bytes.length === banner.length && banner.every((byte, i) => bytes[i] === byte))
      return { offset, how: `linux_banner at 0x${address.toString(16)}` };
  }
  return placeOfSystemCall(target, cpu, signature);
}

/** In user space of a kernel with page table isolation little of it is mapped; but the processor knows where it is. */
async function placeOfSystemCall(
  target: Target,
  cpu: number,
  { systemCall, wide }: KernelSignature,
): Promise<KernelPlace | undefined> {
  if (!systemCall || !target.registerInfo().some(({ name }) => name === systemCall.register)) return undefined;
  const offset = (await target.readRegister(cpu, systemCall.register)) - systemCall.address;
  if (offset < 0n || offset >= (wide ? RANGE.wide : RANGE.narrow) || offset % STEP !== 0n) return undefined;
  return { offset, how: systemCall.register };
}

/** Whether code of the kernel at its virtual address is being executed: the decompressor and the first code after it run below. */
export function inKernelHalf(context: HitContext, lowest: bigint): boolean {
  return context.register('rip') >= lowest;
}
