/** The sample's initramfs: BusyBox, the scripts of ../initramfs, and a kernel's modules. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { say, UserError } from '../../../scripts/lib/project.mjs';
import { hasApt, unpack } from './packages.mjs';

const FOLDERS = ['bin', 'sbin', 'dev', 'etc', 'proc', 'sys', 'run', 'tmp', 'root', 'usr', 'lib', 'lib/modules'];
/** Program header type of the path of a dynamic linker. gABI, "Program Header". */
const PT_INTERP = 3;

/** True for an ELF executable without a dynamic linker. */
function isStatic(file) {
  const image = readFileSync(file);
  if (image.length < 64 || image.readUInt32BE(0) !== 0x7f454c46 || image[4] !== 2) return false;
  const [start, size, count] = [Number(image.readBigUInt64LE(32)), image.readUInt16LE(54), image.readUInt16LE(56)];
  return Array.from({ length: count }, (_, i) => image.readUInt32LE(start + i * size)).every((p) => p !== PT_INTERP);
}

/** BusyBox of an architecture: the given file, Debian's package, or for amd64 the installed one if that is static. */
export function findBusybox(architecture, given, packages, folder) {
  if (given) {
    if (!existsSync(given)) throw new UserError(`--busybox: there is no file ${given}`);
    return readFileSync(given);
  }
  let reason = 'there is no apt-get on this machine';
  const temporary = mkdtempSync(path.join(folder, 'busybox-'));
  try {
    if (hasApt()) {
      unpack(packages.fetch(architecture, 'busybox-static'), temporary);
      const file = ['bin/busybox', 'usr/bin/busybox'].map((one) => path.join(temporary, one)).find(existsSync);
      return readFileSync(file);
    }
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    reason = error.message;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  const installed = ['/bin/busybox', '/usr/bin/busybox'].find((file) => existsSync(file) && isStatic(file));
  if (architecture === 'amd64' && installed) {
    say(`No package busybox-static (${reason.split('\n')[0]}): taking the installed ${installed}`);
    return readFileSync(installed);
  }
  throw new UserError(`BusyBox for ${architecture} is missing: ${reason}\nName a static one with --busybox FILE.`);
}

/** Entries for newc(). */
export function initramfsEntries(busybox, modules, scripts) {
  const names = readdirSync(scripts, { recursive: true }).sort();
  const isFile = (name) => statSync(path.join(scripts, name)).isFile();
  const folders = [...FOLDERS, ...names.filter((name) => !isFile(name))];
  const known = new Set(folders);
  return [
    ...[...known].map((name) => ({ kind: 'folder', path: name })),
    // The kernel opens it for init's standard streams, before there is a devtmpfs.
    { kind: 'device', path: 'dev/console', major: 5, minor: 1 },
    { kind: 'file', path: 'bin/busybox', data: busybox },
    { kind: 'link', path: 'bin/sh', target: 'busybox' },
    ...names.filter(isFile).map((name) => {
      const data = readFileSync(path.join(scripts, name));
      return { kind: 'file', path: name, data, mode: data.toString('latin1', 0, 2) === '#!' ? 0o755 : 0o644 };
    }),
    ...modules.filter(({ path: name }) => !known.has(name)),
  ];
}
