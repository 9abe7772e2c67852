/** node_modules as package-lock.json says: installed when it is missing or out of date. Needs nothing but Node and npm. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { root, say, UserError } from './project.mjs';
import { npm } from './processes.mjs';

/** npm writes this one at the end of every install: what node_modules holds. */
const installed = path.join(root, 'node_modules', '.package-lock.json');

function readPackages(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages;
  } catch {
    return {};
  }
}

/** True when every package of the lock file is installed in its version; optional ones are for other platforms. */
function fresh() {
  const wanted = readPackages(path.join(root, 'package-lock.json'));
  const there = readPackages(installed);
  return Object.entries(wanted).every(
    ([place, { version, optional }]) => place === '' || optional || there[place]?.version === version,
  );
}

/** Installs the development dependencies unless they are there. */
export async function ensureDependencies() {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < 20) throw new UserError(`Node 20 or newer is needed; this is ${process.version}`);
  if (fresh()) return;
  say('Installing the development dependencies into node_modules (npm ci)');
  // No install scripts: none of the packages needs its own, and some would download from elsewhere.
  await npm(['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: root });
}
