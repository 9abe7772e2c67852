/**
 * A boot sector, alone or as the first sector of a disk image: loaded at 0000h:7C00h and entered in real mode with
 * DL = 80h, the drive it came from. Firmware services: biosServices.ts. Source: BIOS Boot Specification 1.01, "IPL".
 */
import { clearScreen } from './biosVideo';
import type { EntryState } from './boot';
import { realModeEntry } from './entryState';
import { refuseExtras, type BootContext } from './protocol';

export const BOOT_SECTOR_ADDRESS = 0x7c00;
export const BOOT_DRIVE = 0x80;
export const SECTOR = 512;

/** Whether the first sector ends with the boot signature 55h AAh. */
export function hasBootSignature(image: Uint8Array): boolean {
  return image.length >= SECTOR && image[510] === 0x55 && image[511] === 0xaa;
}

export function loadBios(context: BootContext): EntryState {
  const { request, placement } = context;
  const { kernel } = request;
  refuseExtras(context, 'bios', 'all');
  if (kernel.length < SECTOR) {
    throw placement.error(`${kernel.length} bytes, expected a boot sector of 512 bytes or a disk image`);
  }
  if (!hasBootSignature(kernel)) {
    const found = [kernel[510], kernel[511]].map((b) => b.toString(16).padStart(2, '0')).join(' ');
    throw placement.error(`offset 0x1fe: ${found}, expected the boot signature 55 aa`);
  }
  clearScreen(request.memory);
  placement.place('boot sector', BOOT_SECTOR_ADDRESS, kernel.subarray(0, SECTOR));
  return realModeEntry(BOOT_SECTOR_ADDRESS, { rdx: BOOT_DRIVE, rsp: BOOT_SECTOR_ADDRESS });
}
