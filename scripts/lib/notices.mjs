/** Licences of the npm packages that end up inside bundles, which must travel with them. */
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { root } from './project.mjs';

/** Names of the packages that a bundle's inputs come from, by esbuild's metafile. */
export function packagesOf(metafile) {
  const names = Object.keys(metafile.inputs).map((file) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1]);
  return [...new Set(names.filter(Boolean))].sort();
}

/** One text with every package's name, version and licence. Throws for a package that has no licence file. */
export function noticesFor(packages) {
  const parts = packages.map((name) => {
    const folder = path.join(root, 'node_modules', name);
    const { version, license } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (!file) throw new Error(`${name} has no licence file in ${folder}`);
    const text = readFileSync(path.join(folder, file), 'utf8').trim();
    return `${name} ${version} (${license})\n\n${text}\n`;
  });
  return `Ringside contains these packages.\n\n${parts.join(`\n${'-'.repeat(80)}\n\n`)}`;
}
