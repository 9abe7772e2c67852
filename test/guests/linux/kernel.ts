/** A stock Linux kernel for tests: not in the repository, found on this machine. */
import { existsSync, readdirSync } from 'node:fs';
import { skip } from '../../skip';

const BOOT = '/boot';

/** The kernel's file: what RINGSIDE_LINUX names, else Debian's newest cloud kernel in /boot. Skips the running suite where there is none. */
export function linuxKernel(context: Mocha.Context): string {
  const named = process.env.RINGSIDE_LINUX;
  if (named) {
    if (!existsSync(named)) throw new Error(`RINGSIDE_LINUX: there is no file '${named}'`);
    return named;
  }
  const installed = existsSync(BOOT) ? readdirSync(BOOT).filter((name) => /^vmlinuz-.*-cloud-amd64$/.test(name)) : [];
  const newest = installed.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).pop();
  return newest
    ? `${BOOT}/${newest}`
    : skip(
        context,
        "no Linux kernel: set RINGSIDE_LINUX to the vmlinuz of Debian's linux-image-cloud-amd64, or install it",
      );
}
