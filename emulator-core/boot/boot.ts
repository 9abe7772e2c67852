/**
 * Loading a guest: from image bytes to guest memory contents and the state of the boot processor.
 * One file per protocol beside this one; this file holds the types they share and picks a protocol for `auto`.
 */
import { hasBootSignature, loadBios } from './bios';
import { FIRMWARE_PORT_WRITES } from './biosRom';
import { BootError } from './bootError';
import { ElfFile, isElf } from './elf';
import { writeFirmware } from './firmware';
import type { Framebuffer, FramebufferMode } from './framebuffer';
import { isLinux, loadLinux, type LinuxEntry } from './linux';
import { findMultiboot, loadMultiboot } from './multiboot';
import { findMultiboot2, loadMultiboot2 } from './multiboot2';
import { Placement } from './placement';
import type { ProtocolLoader } from './protocol';
import { loadPvh, pvhEntry } from './pvh';
import { loadRaw } from './raw';

export { BootError };

export type BootProtocol = 'linux' | 'pvh' | 'multiboot' | 'multiboot2' | 'bios' | 'raw';

export interface BootModule {
  name: string;
  data: Uint8Array;
  cmdline: string;
}

export interface BootRequest {
  /** File name of the kernel, for messages. */
  name: string;
  kernel: Uint8Array;
  protocol: BootProtocol | 'auto';
  cmdline: string;
  initrd?: Uint8Array;
  modules: BootModule[];
  /** Guest RAM, from guest-physical 0, `bytes.length` long (a multiple of 4 KiB). */
  memory: Uint8Array;
  /** `memory` is all zeros. */
  zeroed?: boolean;
  cpus: number;
  /** Number of virtio devices over MMIO, of which ACPI tells the guest. Absent: none. */
  virtioMmio?: number;
  /** Which entry of a Linux image; absent: auto. */
  linuxEntry?: LinuxEntry;
  /** The display shows a linear framebuffer of this size instead of text. */
  framebuffer?: FramebufferMode;
}

/** Segment register contents. `attributes` as in the VMCS access-rights format (SDM Vol. 3C, "Guest Register State"). */
export interface SegmentState {
  selector: number;
  base: number;
  limit: number;
  attributes: number;
}

/** The boot processor when the guest's first instruction runs. Absent registers keep their reset value (general ones: 0). */
export interface EntryState {
  rip: number;
  rflags: number;
  registers: Partial<Record<'rax' | 'rbx' | 'rcx' | 'rdx' | 'rsi' | 'rdi' | 'rbp' | 'rsp', number>>;
  cr0: number;
  cr3: number;
  cr4: number;
  efer: number;
  segments: Record<'cs' | 'ss' | 'ds' | 'es' | 'fs' | 'gs', SegmentState>;
  gdtr: { base: number; limit: number };
  idtr: { base: number; limit: number };
}

/** A byte written to an I/O port. */
export interface PortWrite {
  port: number;
  value: number;
}

export interface BootResult {
  protocol: BootProtocol;
  entry: EntryState;
  /** The guest starts in real mode, where it uses the BIOS services. */
  realMode: boolean;
  /** Byte writes to devices that firmware would have made before the guest starts, in order (8259 and 8254 set-up). */
  portWrites: readonly PortWrite[];
  /** What was put where, for `info devices`, messages and docs: 'kernel', 'cmdline', 'ACPI tables' ... */
  loaded: { what: string; gpa: number; length: number }[];
  framebuffer?: Framebuffer;
}

const loaders: Record<BootProtocol, ProtocolLoader> = {
  linux: loadLinux,
  pvh: loadPvh,
  multiboot: loadMultiboot,
  multiboot2: loadMultiboot2,
  bios: loadBios,
  raw: loadRaw,
};

/** Protocols whose boot information has a framebuffer. */
const HAND_OVER_FRAMEBUFFER: readonly BootProtocol[] = ['linux', 'multiboot', 'multiboot2'];

/**
 * The protocol that an image declares: linux, multiboot2, multiboot, pvh or bios, the first that applies in this order.
 * Undefined when it declares none; a flat binary never does.
 * @throws ElfError when an ELF file's headers or notes are malformed
 */
export function detectProtocol(kernel: Uint8Array, name = 'kernel'): BootProtocol | undefined {
  if (isLinux(kernel)) return 'linux';
  if (findMultiboot2(kernel) !== undefined) return 'multiboot2';
  if (findMultiboot(kernel) !== undefined) return 'multiboot';
  if (isElf(kernel)) return pvhEntry(new ElfFile(kernel, name)) === undefined ? undefined : 'pvh';
  return hasBootSignature(kernel) ? 'bios' : undefined;
}

/** What to tell about a file that declares no protocol. */
function unknownFormat(kernel: Uint8Array): string {
  if (isElf(kernel)) {
    return 'an ELF file without multiboot, multiboot2 or PVH entry: expected one of these headers or notes';
  }
  if (kernel[0] === 0x1f && kernel[1] === 0x8b) return 'gzip data: decompress the kernel first';
  const start = Array.from(kernel.subarray(0, 4), (b) => b.toString(16).padStart(2, '0')).join(' ');
  return (
    `not a known kernel format (it begins with ${start}): expected a bzImage, a multiboot, multiboot2 or PVH image, ` +
    'or a boot sector; for a flat binary set "boot" to "raw"'
  );
}

/**
 * Loads a guest: writes the firmware's tables and the image into `request.memory` and returns how it starts.
 * @throws BootError when the image cannot be booted, ElfError when it is a malformed ELF file
 */
export function bootGuest(request: BootRequest): BootResult {
  const { kernel, name } = request;
  if (kernel.length === 0) throw new BootError(`${name}: the file is empty, expected a kernel image`);
  const protocol = request.protocol === 'auto' ? detectProtocol(kernel, name) : request.protocol;
  if (protocol === undefined) throw new BootError(`${name}: ${unknownFormat(kernel)}`);
  if (request.framebuffer && !HAND_OVER_FRAMEBUFFER.includes(protocol)) {
    const able = HAND_OVER_FRAMEBUFFER.join(', ');
    throw new BootError(`${name}: "display": the ${protocol} protocol cannot hand over a framebuffer; ${able} can`);
  }
  if (request.linuxEntry && request.linuxEntry !== 'auto' && protocol !== 'linux') {
    throw new BootError(`${name}: "linuxEntry": the ${protocol} protocol has one entry only; leave it at "auto"`);
  }
  const placement = new Placement(request);
  const { rsdp } = writeFirmware(request, placement, protocol === 'bios' ? 1 : 0);
  const entry = loaders[protocol]({ request, placement, rsdp });
  return {
    protocol,
    entry,
    realMode: (entry.cr0 & 1) === 0,
    portWrites: FIRMWARE_PORT_WRITES,
    loaded: placement.loaded,
    framebuffer: placement.framebuffer,
  };
}
