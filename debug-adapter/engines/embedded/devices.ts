/** The optional devices of a launch: an entropy source, the disks, and shared folders. */
import { Disk } from '../../../emulator-core/disk/disk';
import { ImageError, openImage } from '../../../emulator-core/disk/image';
import type { VirtioSlot } from '../../../emulator-core/devices/virtio/attach';
import { VirtioBlk } from '../../../emulator-core/devices/virtio/blk';
import { shareDeviceName, VirtioNinep } from '../../../emulator-core/devices/virtio/ninep';
import { VirtioRng } from '../../../emulator-core/devices/virtio/rng';
import type { OpenLink } from './links';
import type { EmbeddedLaunch, LaunchDisk } from '../launch';

export interface LaunchDevices {
  virtio: VirtioSlot[];
  disks: Disk[];
  /** What stands behind devices that reach outside, by the device's name. */
  links: ReadonlyMap<string, OpenLink>;
}

/**
 * @param note something the user should know, later on
 * @throws ImageError that names the attribute and the file
 */
export function makeDevices(launch: EmbeddedLaunch, note: (text: string) => void): LaunchDevices {
  const virtio: VirtioSlot[] = [{ bus: 'pci', create: (host) => new VirtioRng(0, host) }];
  const disks = launch.disks.map(makeDisk);
  for (const [index, disk] of disks.entries()) {
    const bus = launch.disks[index].bus === 'virtio' ? 'pci' : 'mmio';
    virtio.push({ bus, create: (host) => new VirtioBlk({ index, disk, note }, host) });
  }
  const links = new Map<string, OpenLink>();
  for (const [index, { path, tag, access, open }] of (launch.shares ?? []).entries()) {
    const options = { index, tag, root: path, writable: access === 'write' };
    virtio.push({ bus: 'pci', create: (host) => new VirtioNinep(options, host) });
    links.set(shareDeviceName(index), open);
  }
  return { virtio, disks, links };
}

function makeDisk({ attribute, image, access }: LaunchDisk): Disk {
  try {
    const contents = openImage(image);
    if (access === 'write' && contents.format !== 'raw') {
      throw new ImageError(`'${image.name}': "access": "write" takes raw images only; convert it with qemu-img`);
    }
    return new Disk(contents, access);
  } catch (error) {
    if (error instanceof ImageError) error.message = `${attribute}: ${error.message}`;
    throw error;
  }
}

/**
 * The end of a session: what the guest has written goes into the files of disks with access 'write', as the disks are at the present
 * point in time, then all files are closed. Until then no file changes, so going back in time never has to undo anything.
 * @returns what could not be stored
 */
export function storeDisks(launch: EmbeddedLaunch, disks: readonly Disk[]): string[] {
  const failed: string[] = [];
  for (const [i, { image, access, attribute }] of launch.disks.entries()) {
    try {
      if (access === 'write') for (const { offset, data } of disks[i].written()) image.write!(offset, data);
    } catch (error) {
      failed.push(`${attribute}: '${image.name}' could not be written: ${(error as Error).message}`);
    } finally {
      image.close?.();
    }
  }
  return failed;
}
