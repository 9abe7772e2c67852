/** What an engine gets to make a machine: launch.json's attributes, checked, with all files already read. */

import type { DiskAccess } from '../../emulator-core/disk/disk';
import type { LinuxEntry } from '../../emulator-core/boot/linux';
import type { ImageFile } from '../../emulator-core/disk/image';
import type { OpenFile } from '../engine';

export { MODE_LIMITS } from '../../emulator-core/boot/framebuffer';

export interface LaunchFile {
  /** As written in launch.json, for messages. */
  name: string;
  bytes: Uint8Array;
}

export interface LaunchModule extends LaunchFile {
  cmdline: string;
}

export interface LaunchDisk {
  /** For messages: disks[0].file. */
  attribute: string;
  /** Without `write`: it was not opened for that. */
  image: ImageFile & OpenFile;
  bus: 'virtio' | 'virtio-mmio';
  access: DiskAccess;
}

export type BootChoice = 'auto' | 'linux' | 'pvh' | 'multiboot' | 'multiboot2' | 'bios' | 'raw';

export interface EmbeddedLaunch {
  kernel: LaunchFile;
  initrd?: LaunchFile;
  modules: LaunchModule[];
  cmdline: string;
  boot: BootChoice;
  /** Absent: auto. */
  linuxEntry?: LinuxEntry;
  disks: LaunchDisk[];
  /** Guest RAM in bytes, a multiple of 4096. */
  memory: number;
  cpus: number;
  mode: 'bare' | 'kvm';
  cpu: { vendor: 'intel'; model?: string; features: string[] };
  /** Names of exits whose breakpoints are armed from the start; the adapter arms them, engines need not. */
  exits: string[];
  /** Keep the history for going back. */
  record: boolean;
  stopOnEntry: boolean;
  /** While the guest idles, virtual time does not run ahead of the host's (a user is watching). Default false. */
  pace?: boolean;
  /** The display is a linear framebuffer of this size; absent: VGA text. */
  display?: { width: number; height: number };
  /** isa-debug-exit at port 0xf4. */
  debugExit: boolean;
}
