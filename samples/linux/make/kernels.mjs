/** The kernels of the sample: where each comes from, and what is made of it. */
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import path from 'node:path';
import { say, UserError } from '../../../scripts/lib/project.mjs';
import { moduleEntries } from './modules.mjs';
import { hasApt, unpack } from './packages.mjs';

/** Name of a kernel -> Debian's meta package of it. */
export const KERNELS = {
  cloud: { architecture: 'amd64', package: 'linux-image-cloud-amd64' },
  generic: { architecture: 'amd64', package: 'linux-image-amd64' },
  '686-pae': { architecture: 'i386', package: 'linux-image-686-pae' },
};

const BOOT = '/boot';
/** The release (`uname -r`) of a bzImage, from its header. */
async function kernelRelease(image, file, typescript) {
  const { SetupHeader } = await typescript('../../emulator-core/boot/linuxSetupHeader.ts');
  const release = SetupHeader.of(image)?.release;
  if (!release) throw new UserError(`${file} is no Linux bzImage: expected 'HdrS' at offset 0x202`);
  return release;
}

/** A kernel in a file, with the modules that the system has for it. */
async function kernelOfFile(file, typescript) {
  let image;
  try {
    image = readFileSync(file);
  } catch (error) {
    throw new UserError(`the kernel ${file} cannot be read: ${error.message}`);
  }
  const release = await kernelRelease(image, file, typescript);
  const modules = path.join('/lib/modules', release);
  if (existsSync(path.join(modules, 'kernel'))) return { image, modules: moduleEntries(modules, release), from: file };
  say(`There is no ${modules}: the guest goes without modules`);
  return { image, modules: [], from: file };
}

function kernelOfPackage(file, temporary) {
  unpack(file, temporary);
  const name = readdirSync(path.join(temporary, 'boot')).find((one) => one.startsWith('vmlinuz-'));
  if (!name) throw new UserError(`${file} holds no boot/vmlinuz-*`);
  // Merged /usr: newer packages have their modules there.
  const folder = ['lib/modules', 'usr/lib/modules'].map((one) => path.join(temporary, one)).find(existsSync);
  if (!folder) throw new UserError(`${file} holds no lib/modules`);
  const [release] = readdirSync(folder);
  const image = readFileSync(path.join(temporary, 'boot', name));
  return { image, modules: moduleEntries(path.join(folder, release), release), from: path.basename(file) };
}

function readable(file) {
  try {
    const descriptor = openSync(file, 'r');
    const read = readSync(descriptor, Buffer.alloc(1));
    closeSync(descriptor);
    return read === 1;
  } catch {
    return false;
  }
}

/** The newest 64-bit kernel installed on this machine that may be read; Debian's cloud kernels first. */
function installedKernel() {
  const names = existsSync(BOOT) ? readdirSync(BOOT).filter((name) => /^vmlinuz-.*-(amd64|generic)$/.test(name)) : [];
  const cloudLast = (name) => (name.includes('-cloud-') ? 1 : 0);
  const order = (a, b) => cloudLast(a) - cloudLast(b) || a.localeCompare(b, 'en', { numeric: true });
  const files = names.sort(order).map((name) => path.join(BOOT, name));
  return files.filter(readable).pop();
}

/**
 * A kernel and its modules.
 * @param {keyof KERNELS} name
 * @param {string} [given] a bzImage to take instead of a package's
 * @param {string} temporary a folder that does not exist yet, which the caller removes
 * @param {(file: string) => Promise<object>} typescript imports a module by its path from samples/linux
 * @returns {Promise<{ image: Buffer, modules: object[], from: string }>}
 */
export async function findKernel(name, given, packages, temporary, typescript) {
  if (given) return kernelOfFile(given, typescript);
  const { architecture, package: meta } = KERNELS[name];
  let reason = 'there is no apt-get on this machine';
  try {
    if (hasApt()) return kernelOfPackage(packages.fetch(architecture, meta, /^linux-image-\d/), temporary);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    reason = error.message;
  }
  const installed = name === 'cloud' && installedKernel();
  if (installed) {
    say(`No package ${meta} (${reason.split('\n')[0]}): taking the installed ${installed}`);
    return kernelOfFile(installed, typescript);
  }
  const instead = name === 'cloud' ? 'Name a bzImage with --kernel FILE' : `Leave this kernel out with --only`;
  throw new UserError(`the kernel of Debian's package ${meta} cannot be fetched: ${reason}\n${instead}.`);
}
