/**
 * Prepares the guests of this folder in build/: kernels as Debian ships them, an initramfs with a shell for each, and a disk with a
 * small Debian. Runs without root; what is there already stays.
 *   node make.mjs                          everything
 *   node make.mjs --only cloud,vmlinux     these only: cloud, vmlinux, generic, 686-pae, disk
 *   node make.mjs --kernel FILE            this bzImage instead of Debian's cloud kernel
 *   node make.mjs --busybox FILE           this static BusyBox instead of Debian's (64-bit kernels)
 *   node make.mjs --fresh                  forget what was fetched, made and said before
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureDependencies } from '../../scripts/lib/dependencies.mjs';
import { main, say, UserError } from '../../scripts/lib/project.mjs';
import { findBusybox, initramfsEntries } from './make/initramfs.mjs';
import { findKernel, KERNELS } from './make/kernels.mjs';
import { Packages } from './make/packages.mjs';
import { makeRootDisk } from './make/rootDisk.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const build = path.join(here, 'build');
const scripts = path.join(here, 'initramfs');

/** What can be made: its files below build/, what they come from besides packages, another part that it needs or is made from, and how. */
const PARTS = {
  ...Object.fromEntries(
    Object.keys(KERNELS).map((name) => [
      name,
      { files: ['vmlinuz', 'initrd'], sources: ['make', 'initramfs'], make: (context) => makeKernel(name, context) },
    ]),
  ),
  vmlinux: { files: ['vmlinux'], needs: 'cloud', fromNeeded: true, sources: ['make/kernels.mjs'], make: makeVmlinux },
  disk: {
    files: ['root.img'],
    needs: 'cloud',
    sources: ['make/rootDisk.mjs'],
    make: ({ folder, packages }) => makeRootDisk(path.join(folder, 'root.img'), packages),
  },
};

async function makeKernel(name, { folder, packages, options, typescript }) {
  const { newc } = await typescript('./make/newc.ts');
  const given = name === 'cloud' ? options.kernel : undefined;
  const temporary = mkdtempSync(path.join(build, 'unpacked-'));
  try {
    const kernel = await findKernel(name, given, packages, path.join(temporary, 'kernel'), typescript);
    const { architecture } = KERNELS[name];
    const busybox = findBusybox(architecture, architecture === 'amd64' && options.busybox, packages, temporary);
    writeFileSync(path.join(folder, 'vmlinuz'), kernel.image);
    writeFileSync(path.join(folder, 'initrd'), newc(initramfsEntries(busybox, kernel.modules, scripts)));
    const modules = kernel.modules.filter((entry) => entry.path.endsWith('.ko')).length;
    say(`${name}: the kernel of ${kernel.from}, an initramfs with BusyBox and ${modules} modules`);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

async function makeVmlinux({ folder, typescript }) {
  const { bzImagePayload, expandPayload } = await typescript('../../debug-adapter/introspection/linux/payload.ts');
  const file = path.join(build, 'cloud/vmlinuz');
  const payload = bzImagePayload(readFileSync(file));
  if (!payload) throw new UserError(`${file} is no bzImage with a payload (boot protocol 2.08)`);
  const elf = await expandPayload(payload).catch((error) => {
    throw new UserError(`${file}: ${error.message}`);
  });
  writeFileSync(path.join(folder, 'vmlinux'), elf);
  say(`vmlinux: ${(elf.length / 2 ** 20).toFixed(0)} MB out of cloud/vmlinuz`);
}

/** Files of a source, which is one or a folder. */
function filesOf(source) {
  const whole = path.join(here, source);
  if (statSync(whole).isFile()) return [whole];
  return readdirSync(whole, { recursive: true })
    .map((name) => path.join(whole, name))
    .filter((file) => statSync(file).isFile())
    .sort();
}

/** What a part is made from, as a number to compare. */
function fingerprint({ sources, needs, fromNeeded }, options) {
  const hash = createHash('sha256');
  for (const file of sources.flatMap(filesOf)) hash.update(file).update(readFileSync(file));
  if (!needs) hash.update(JSON.stringify(options));
  for (const file of [options.kernel, options.busybox]) if (file && !needs) hash.update(String(statSync(file).mtimeMs));
  if (fromNeeded) hash.update(readFileSync(path.join(build, needs, 'made')));
  return hash.digest('hex');
}

async function makePart(name, context) {
  const part = PARTS[name];
  const folder = path.join(build, name);
  const stamp = path.join(folder, 'made');
  const key = fingerprint(part, context.options);
  const complete = part.files.every((file) => existsSync(path.join(folder, file)));
  if (complete && existsSync(stamp) && readFileSync(stamp, 'utf8') === key) return say(`${name}: made already`);
  // Made aside, so that an interrupted run leaves no half-made files.
  const aside = path.join(build, `${name}.new`);
  rmSync(aside, { recursive: true, force: true });
  mkdirSync(aside, { recursive: true });
  await part.make({ ...context, folder: aside });
  writeFileSync(path.join(aside, 'made'), key);
  rmSync(folder, { recursive: true, force: true });
  renameSync(aside, folder);
}

function parse(args) {
  const options = {};
  const left = [...args];
  while (left.length) {
    const [flag, inline] = left.shift().split(/=(.*)/s);
    const value = () => {
      const text = inline ?? left.shift();
      if (!text) throw new UserError(`${flag}: a value is missing`);
      return text;
    };
    if (flag === '--only') options.only = value().split(',');
    else if (flag === '--kernel' || flag === '--busybox') options[flag.slice(2)] = path.resolve(value());
    else if (flag === '--fresh') options.fresh = true;
    else throw new UserError(`no option is called '${flag}'; there are --only, --kernel, --busybox, --fresh`);
  }
  const unknown = options.only?.find((name) => !(name in PARTS));
  if (unknown !== undefined)
    throw new UserError(`--only: nothing is called '${unknown}'; there are ${Object.keys(PARTS).join(', ')}`);
  return options;
}

await main(async (args) => {
  const { only = Object.keys(PARTS), fresh, ...given } = parse(args);
  let options = given;
  const wanted = new Set(only.flatMap((name) => [PARTS[name].needs ?? name, name]));
  await ensureDependencies();
  const { tsImport } = await import('tsx/esm/api');
  if (fresh) rmSync(build, { recursive: true, force: true });
  mkdirSync(build, { recursive: true });
  // Remembered, so that the tasks of launch.json do not take another kernel again.
  const remembered = path.join(build, 'options.json');
  if (existsSync(remembered)) options = { ...JSON.parse(readFileSync(remembered, 'utf8')), ...options };
  for (const name of ['kernel', 'busybox']) {
    if (options[name] && !existsSync(options[name]))
      throw new UserError(`--${name}: there is no file ${options[name]} (--fresh forgets what was said before)`);
  }
  writeFileSync(remembered, JSON.stringify(options));
  const packages = new Packages(path.join(build, 'packages'));
  const typescript = (file) => tsImport(file, import.meta.url);
  const failures = [];
  for (const name of wanted) {
    try {
      if (failures.includes(PARTS[name].needs)) throw new UserError(`it needs ${PARTS[name].needs}`);
      await makePart(name, { packages, options, typescript });
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      failures.push(name);
      process.stderr.write(`${name} was not made: ${error.message}\n`);
    }
  }
  return failures.length ? 1 : 0;
});
