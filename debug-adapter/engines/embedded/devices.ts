/** The optional devices of a launch: an entropy source, the disks, shared folders, a network, a socket device. */
import { Disk } from '../../../emulator-core/disk/disk';
import { ImageError, openImage } from '../../../emulator-core/disk/image';
import type { VirtioSlot } from '../../../emulator-core/devices/virtio/attach';
import { VirtioBlk } from '../../../emulator-core/devices/virtio/blk';
import { VirtioNet } from '../../../emulator-core/devices/virtio/net';
import { shareDeviceName, VirtioNinep } from '../../../emulator-core/devices/virtio/ninep';
import { VirtioRng } from '../../../emulator-core/devices/virtio/rng';
import { VirtioVsock } from '../../../emulator-core/devices/virtio/vsock';
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
  const bus = (of: { bus: 'virtio' | 'virtio-mmio' }): VirtioSlot['bus'] => (of.bus === 'virtio' ? 'pci' : 'mmio');
  for (const [index, disk] of disks.entries()) {
    virtio.push({ bus: bus(launch.disks[index]), create: (host) => new VirtioBlk({ index, disk, note }, host) });
  }
  const links = new Map<string, OpenLink>();
  for (const [index, { path, tag, access, open }] of (launch.shares ?? []).entries()) {
    const options = { index, tag, root: path, writable: access === 'write' };
    virtio.push({ bus: 'pci', create: (host) => new VirtioNinep(options, host) });
    links.set(shareDeviceName(index), open);
  }
  const { network, vsock } = launch;
  if (network) {
    virtio.push({ bus: bus(network), create: (host) => new VirtioNet({ index: 0, ...network }, host) });
    if (network.streams) links.set('net0', network.streams.open);
  }
  if (vsock) {
    virtio.push({ bus: bus(vsock), create: (host) => new VirtioVsock({ index: 0, ...vsock }, host) });
    if (vsock.streams) links.set('vsock0', vsock.streams.open);
  }
  return { virtio, disks, links };
}

/** Nothing of this machine's is open for the guest any more. */
export function closeNetworks({ network, vsock }: EmbeddedLaunch): void {
  network?.streams?.close();
  vsock?.streams?.close();
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
