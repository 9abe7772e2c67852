/** What an engine gets to make a machine: launch.json's attributes, checked, with all files already read. */

import type { DiskAccess } from '../../emulator-core/disk/disk';
import type { LinuxEntry } from '../../emulator-core/boot/linux';
import type { ImageFile } from '../../emulator-core/disk/image';
import type { OpenFile } from '../engine';
import type { SnapshotContents } from '../target';
import type { OpenLink } from './embedded/links';

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

export interface LaunchShare {
  /** The folder, for descriptions. */
  path: string;
  /** By which the guest mounts it. */
  tag: string;
  access: 'readonly' | 'write';
  open: OpenLink;
}

/** TCP on this machine's loopback interface that a guest has to do with. */
export interface StreamsWanted {
  /** Ports that the guest may connect to. */
  ports: readonly number[];
  /** Ports here, and the guest's ports that connections to them go to. */
  forward: readonly { host: number; guest: number }[];
}

export interface Streams {
  open: OpenLink;
  /** Ends listening. */
  close(): void;
}

interface StreamDevice {
  bus: 'virtio' | 'virtio-mmio';
  ports: readonly number[];
  /** Absent: nothing is reachable, either way. */
  streams?: Streams;
}

export interface LaunchNetwork extends StreamDevice {
  /** Six bytes. */
  mac: Uint8Array;
}

export interface LaunchVsock extends StreamDevice {
  cid: number;
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
  /** Folders of the host; absent: none. */
  shares?: LaunchShare[];
  network?: LaunchNetwork;
  vsock?: LaunchVsock;
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
  /** Start where this snapshot is; absent: at power-on. */
  from?: SnapshotContents;
  /** While the guest idles, virtual time does not run ahead of the host's (a user is watching). Default false. */
  pace?: boolean;
  /** The display is a linear framebuffer of this size; absent: VGA text. */
  display?: { width: number; height: number };
  /** A virtio console beside COM1, on the same terminal. */
  virtioConsole?: boolean;
  /** Which guest code is compiled to WebAssembly; absent: what runs often. */
  compile?: 'auto' | 'off' | 'always';
  /** isa-debug-exit at port 0xf4. */
  debugExit: boolean;
}
