/** QEMU with its own translator, TCG. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { qemuVersion } from '../qemuPeer.mjs';
import { timedRun } from './timedRun.mjs';

/** @type {import('./timedRun.mjs').Peer} */
export const qemu = {
  name: 'QEMU TCG',
  async find() {
    const version = await qemuVersion();
    return version ? { version } : { missing: 'no qemu-system-x86_64 (Debian: qemu-system-x86)' };
  },
  run(image, folder) {
    const file = path.join(folder, 'guest.bin');
    writeFileSync(file, image);
    const args = ['-accel', 'tcg', '-cpu', 'max', '-m', '64', '-nodefaults', '-display', 'none', '-no-reboot'];
    args.push('-serial', 'stdio', '-device', 'isa-debug-exit,iobase=0xf4,iosize=4', '-kernel', file);
    return timedRun('qemu-system-x86_64', args);
  },
};
