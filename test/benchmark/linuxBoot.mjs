/** Debian's cloud kernel, of samples/linux, to its first program: here and under QEMU's TCG; and a snapshot of it. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { root } from '../../scripts/lib/project.mjs';

const folder = path.join(root, 'samples/linux/build/cloud');
export const linux = { kernel: path.join(folder, 'vmlinuz'), initrd: path.join(folder, 'initrd') };
export const linuxMissing = "no kernel: 'node samples/linux/make.mjs --only cloud' fetches it";
export const hasLinux = () => existsSync(linux.kernel) && existsSync(linux.initrd);
export const cmdline = 'console=ttyS0';
/** Megabytes. */
export const memory = 256;
/** What the kernel says before it starts the first program of the initramfs. Linux, init/main.c: run_init_process. */
export const atInit = 'Run /init as init process';

/** Seconds from QEMU's start until the text on its serial console. */
export function qemuBootSeconds(text = atInit) {
  const args = ['-accel', 'tcg', '-cpu', 'max', '-m', String(memory), '-nodefaults', '-display', 'none', '-no-reboot'];
  args.push('-serial', 'stdio', '-kernel', linux.kernel, '-initrd', linux.initrd, '-append', cmdline);
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'pipe', 'ignore'] });
    const timer = setTimeout(() => child.kill('SIGKILL'), 300_000);
    let output = '';
    child.stdout.setEncoding('latin1').on('data', (more) => {
      output += more;
      if (!output.includes(text)) return;
      clearTimeout(timer);
      child.kill('SIGKILL');
      resolve((performance.now() - start) / 1000);
    });
    child.on('error', reject);
    child.on('close', () => reject(new Error(`QEMU ended without '${text}': ${output.slice(-200)}`)));
  });
}
