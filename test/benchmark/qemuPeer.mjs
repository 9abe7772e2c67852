/** The peer of the mix: QEMU with its own translator (TCG), on the same guests. */
import { spawn } from 'node:child_process';

const program = 'qemu-system-x86_64';
/** isa-debug-exit ends QEMU with status (value << 1) | 1; the loop guests write 0. */
const finished = 1;

/** What `qemu-system-x86_64 --version` says; undefined where it is not installed. */
export function qemuVersion() {
  return new Promise((resolve) => {
    const child = spawn(program, ['--version'], { stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (more) => (text += more));
    child.on('error', () => resolve(undefined));
    child.on('close', (status) => resolve(status === 0 ? /version (\S+)/.exec(text)?.[1] : undefined));
  });
}

/** Seconds that QEMU takes from its start to the guest's end. */
export function qemuSeconds(kernel) {
  const args = ['-accel', 'tcg', '-cpu', 'max', '-m', '64', '-nodefaults', '-display', 'none', '-no-reboot'];
  args.push('-device', 'isa-debug-exit,iobase=0xf4,iosize=4', '-kernel', kernel);
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    const timer = setTimeout(() => child.kill('SIGKILL'), 120_000);
    let text = '';
    child.stderr.setEncoding('utf8').on('data', (more) => (text += more));
    child.on('error', reject);
    child.on('close', (status) => {
      clearTimeout(timer);
      if (status === finished) resolve((performance.now() - start) / 1000);
      else reject(new Error(`QEMU ended with status ${status}: ${text.trim().slice(0, 200)}`));
    });
  });
}
