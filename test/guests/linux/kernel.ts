/** A stock Linux kernel for tests: not in the repository, found on this machine. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { skip } from '../../skip';

const BOOT = '/boot';
const SAMPLE = path.join(__dirname, '../../../samples/linux');
/** The command that gets what is missing. */
export const MAKE = 'node samples/linux/make.mjs';

/** A file that samples/linux/make.mjs makes. */
export const sampleFile = (name: string): string => path.join(SAMPLE, 'build', name);

/**
 * The kernel's file: what RINGSIDE_LINUX names, else the one that samples/linux has fetched, else Debian's newest cloud kernel in /boot.
 * Skips the running suite where there is none.
 */
export function linuxKernel(context: Mocha.Context): string {
  const named = process.env.RINGSIDE_LINUX;
  if (named) {
    if (!existsSync(named)) throw new Error(`RINGSIDE_LINUX: there is no file '${named}'`);
    return named;
  }
  const fetched = sampleFile('cloud/vmlinuz');
  if (existsSync(fetched)) return fetched;
  const installed = existsSync(BOOT) ? readdirSync(BOOT).filter((name) => /^vmlinuz-.*-cloud-amd64$/.test(name)) : [];
  const newest = installed.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).pop();
  return newest
    ? `${BOOT}/${newest}`
    : skip(context, `no Linux kernel: '${MAKE} --only cloud' fetches Debian's, RINGSIDE_LINUX names another`);
}

/** The initramfs with a shell that samples/linux has made for a kernel. Skips the running suite where there is none. */
export function sampleInitrd(context: Mocha.Context, kernel: 'cloud' | 'generic' = 'cloud'): string {
  const file = sampleFile(`${kernel}/initrd`);
  return existsSync(file) ? file : skip(context, `no initramfs: '${MAKE} --only ${kernel}' makes it`);
}

/** Against a hang only: on a machine that does much else a boot takes minutes. */
export const HANG = 900_000;

/** The cloud kernel's files, for the suite that is being described: there when its tests begin, which are skipped where they are missing. */
export function cloudSample(): { kernel: string; initrd: string } {
  const files = { kernel: '', initrd: '' };
  before(function () {
    files.kernel = linuxKernel(this);
    files.initrd = sampleInitrd(this);
  });
  return files;
}
