/** The `disks` of a launch configuration: their image files, opened. */
import { memoryImage } from '../emulator-core/disk/image';
import type { Host } from './engine';
import type { LaunchDisk } from './engines/launch';
import { messageOf } from './errors';
import { LaunchError } from './launchSchema';

/** An entry of launch.json, which the schema has checked. */
export interface DiskAttributes {
  file: string;
  bus?: 'virtio' | 'virtio-mmio' | 'ide';
  access?: LaunchDisk['access'];
}

/** Opens the images. @throws LaunchError that names the attribute and the file */
export async function openDisks(
  disks: readonly DiskAttributes[],
  host: Host,
  resolve: (path: string) => string,
): Promise<LaunchDisk[]> {
  const opened: LaunchDisk[] = [];
  try {
    for (const [i, { file, bus = 'virtio', access = 'snapshot' }] of disks.entries()) {
      const attribute = `disks[${i}]`;
      if (bus === 'ide') {
        const supported = '"virtio" and "virtio-mmio"';
        throw new LaunchError(`${attribute}.bus: "ide" is not available in this version, which supports ${supported}`);
      }
      const image = await open(resolve(file), `${attribute}.file`, access === 'write', host);
      opened.push({ attribute: `${attribute}.file`, image, bus, access });
    }
  } catch (error) {
    for (const { image } of opened) image.close?.();
    throw error;
  }
  return opened;
}

async function open(path: string, attribute: string, write: boolean, host: Host): Promise<LaunchDisk['image']> {
  let image: LaunchDisk['image'] | undefined;
  try {
    if (host.openFile) {
      const file = await host.openFile(path, write);
      image = file && { name: path, ...file };
    } else {
      if (write) throw new Error('"access": "write" is not possible here');
      const bytes = await host.readFile(path);
      image = bytes && memoryImage(path, bytes);
    }
  } catch (error) {
    throw new LaunchError(`${attribute}: can't ${write ? 'open for writing' : 'read'} '${path}': ${messageOf(error)}`);
  }
  if (!image) throw new LaunchError(`${attribute}: there is no file '${path}'`);
  return image;
}
