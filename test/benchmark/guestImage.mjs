/** Images of the guests of guests/, with how many rounds they go and what the checksums add up to. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), 'guests');
const marker = 'parameters: ';

/**
 * A flat image for multiboot, loaded at 1 MiB.
 * @param {import('./workloads.mjs').Workload} workload
 * @param {32|64} width
 * @param {number} rounds that are measured, 1 to 2^31
 * @param {{ warmUp?: number, stay?: boolean }} [options] `warmUp`: rounds before them, up to 2^31 - 1; `stay`: the guest does not
 *   end itself when it is done and right
 * @returns {Buffer}
 */
export function guestImage(workload, width, rounds, { warmUp = 0, stay = false } = {}) {
  const file = path.join(folder, `${workload.guest}-${width}.bin`);
  const image = readFileSync(file);
  const at = image.indexOf(marker);
  if (at < 0 || image.indexOf(marker, at + 1) >= 0) throw new Error(`${file}: '${marker}' is not there once`);
  // In the order of harness.inc.
  const all = warmUp + rounds;
  const parameters = [all, Math.imul(workload.checksum(), all), rounds, stay ? 1 : 0];
  parameters.forEach((value, index) => image.writeUInt32LE(value >>> 0, at + marker.length + index * 4));
  return image;
}

/** A boot disk with the image, 1 cylinder of 16 heads and 63 sectors. */
export function bootDisk(image) {
  const disk = Buffer.alloc(16 * 63 * 512);
  const sector = readFileSync(path.join(folder, 'bootSector.bin'));
  if (image.length > 63 * 512) throw new Error(`the boot sector loads 63 sectors, the image has ${image.length} bytes`);
  sector.copy(disk);
  image.copy(disk, 512);
  return disk;
}
