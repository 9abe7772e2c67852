/** GRUB on a disk image, made by its own tools from Debian's packages grub-pc-bin and grub-common. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

export const GRUB_MODULES = '/usr/lib/grub/i386-pc';
const SECTOR = 512;

/** A disk in `folder`: GRUB's boot sector, then its core image with the list of its own sectors filled in, as grub-bios-setup does. */
export function makeGrubDisk(folder: string): string {
  const early = path.join(folder, 'early.cfg');
  writeFileSync(early, 'serial --unit=0 --speed=115200\nterminal_input serial\nterminal_output serial\n');
  const core = path.join(folder, 'core.img');
  const modules = ['serial', 'terminal', 'normal', 'echo', 'biosdisk'];
  execFileSync('grub-mkimage', ['-O', 'i386-pc', '-o', core, '-p', '(hd0)', '-c', early, ...modules]);
  const image = Buffer.concat([readFileSync(path.join(GRUB_MODULES, 'boot.img')), readFileSync(core)]);
  const disk = Buffer.alloc(Math.ceil(image.length / SECTOR) * SECTOR + (1 << 20));
  image.copy(disk);
  // The last block-list entry of core.img's first sector: start, length in sectors, segment.
  const entry = 2 * SECTOR - 12;
  disk.writeBigUInt64LE(2n, entry);
  disk.writeUInt16LE(Math.ceil(image.length / SECTOR) - 2, entry + 8);
  disk.writeUInt16LE(0x820, entry + 10);
  const file = path.join(folder, 'grub.img');
  writeFileSync(file, disk);
  return file;
}
