/** Ringside itself, by `ringside run`. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { root } from '../../../scripts/lib/project.mjs';
import { timedRun } from './timedRun.mjs';

export const cli = path.join(root, 'out/debug-adapter/cli.js');

/** @type {import('./timedRun.mjs').Peer} */
export const ringside = {
  name: 'Ringside',
  find: async () => ({ version: '' }),
  run(image, folder, workload) {
    const file = path.join(folder, 'guest.bin');
    writeFileSync(file, image);
    const flags = ['--boot', 'multiboot', '--memory', '64M', ...(workload.flags ?? [])];
    return timedRun(process.execPath, [cli, 'run', file, ...flags]);
  },
};
