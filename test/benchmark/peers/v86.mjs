/** v86, an emulator in JavaScript and WebAssembly of the npm registry: installed into Ringside's cache folder, nowhere else. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder } from '../../../scripts/lib/project.mjs';
import { timedRun } from './timedRun.mjs';

const version = '0.5.462';
const folder = path.join(cacheFolder(), 'bench', `v86-${version}`);
const build = path.join(folder, 'node_modules/v86/build');
const runner = path.join(path.dirname(fileURLToPath(import.meta.url)), 'v86Runner.mjs');

/** @type {import('./timedRun.mjs').Peer} */
export const v86 = {
  name: 'v86',
  async find() {
    if (!existsSync(build)) {
      mkdirSync(folder, { recursive: true });
      const args = [
        'install',
        '--no-save',
        '--ignore-scripts',
        '--no-audit',
        '--no-fund',
        `v86@${version}`,
        '--prefix',
        folder,
      ];
      const npm = spawnSync('npm', args, {
        encoding: 'utf8',
        cwd: folder,
        timeout: 120_000,
        shell: process.platform === 'win32',
      });
      if (!existsSync(build)) {
        const why =
          npm.error?.message ?? /npm (?:ERR!|error) code (\S+)/.exec(npm.stderr)?.[1] ?? `status ${npm.status}`;
        return { missing: `npm could not install v86@${version} into ${folder}: ${why}` };
      }
    }
    return { version };
  },
  run(image, files) {
    const file = path.join(files, 'guest.bin');
    writeFileSync(file, image);
    return timedRun(process.execPath, [runner, build, file]);
  },
};
