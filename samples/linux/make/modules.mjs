/** Kernel modules for an initramfs: the drivers that a Ringside machine has devices for, with all that they depend on. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { UserError } from '../../../scripts/lib/project.mjs';

/** What a guest may want; a kernel that has one built in, or not at all, goes without the module. */
const WANTED = [
  ...['virtio_pci', 'virtio_mmio', 'virtio_blk', 'virtio_net', 'virtio_console', 'virtio_rng'],
  ...['9p', '9pnet_virtio', 'vmw_vsock_virtio_transport'],
  ...['ext4', 'edd'], // edd: what the BIOS says of disks, by the 16-bit entry
  ...['button', 'evdev', 'psmouse'], // button and evdev: the ACPI power button
];

/** File name endings of modules, and the program that expands them. */
const ENDINGS = [
  { ending: '.ko' },
  { ending: '.ko.gz', expand: gunzipSync },
  { ending: '.ko.xz', tool: 'xz' },
  { ending: '.ko.zst', tool: 'zstd' },
];

function read(file) {
  const data = readFileSync(file);
  const { expand, tool } = ENDINGS.find(({ ending }) => file.endsWith(ending));
  if (expand) return expand(data);
  if (!tool) return data;
  try {
    return execFileSync(tool, ['-dc'], { input: data, maxBuffer: 1 << 28 });
  } catch (error) {
    throw new UserError(`${file} cannot be expanded by '${tool} -dc': ${error.message}`);
  }
}

/** Name of a module by its file: dashes are underscores, as in lsmod. */
const moduleName = (file) =>
  path
    .basename(file)
    .replace(/\.ko.*$/, '')
    .replaceAll('-', '_');

/** `key=value` strings of the section .modinfo (Linux, include/linux/module.h: MODULE_INFO). */
function moduleInfo(data) {
  const all = [...data.toString('latin1').matchAll(/(?<!\w)(alias|depends|softdep)=([ -~]*)\0/g)];
  const of = (key) => all.filter((one) => one[1] === key).map((one) => one[2]);
  const names = (text) =>
    text
      .split(/[ ,]+/)
      .filter(Boolean)
      .map((name) => name.replaceAll('-', '_'));
  const before = of('softdep').flatMap((text) => names(/^pre: (.*?)( post:|$)/.exec(text)?.[1] ?? ''));
  return { aliases: of('alias'), depends: of('depends').flatMap(names), before };
}

/**
 * Entries for newc(): modules of one kernel with modules.dep and modules.alias, so that modprobe works in the guest.
 * @param {string} folder lib/modules/RELEASE, of a package or of the system
 * @param {string} release what `uname -r` says in the guest
 */
export function moduleEntries(folder, release) {
  const files = new Map();
  for (const entry of readdirSync(path.join(folder, 'kernel'), { recursive: true })) {
    if (/\.ko(\.gz|\.xz|\.zst)?$/.test(entry)) files.set(moduleName(entry), path.join('kernel', entry));
  }
  const taken = new Map();
  const take = (name, needed) => {
    if (taken.has(name)) return;
    const file = files.get(name);
    if (!file) {
      if (needed) throw new UserError(`${folder}: there is no module ${name}, which ${needed} depends on`);
      return;
    }
    const data = read(path.join(folder, file));
    const info = moduleInfo(data);
    taken.set(name, { file: file.replace(/\.ko.*$/, '.ko'), data, ...info });
    for (const other of info.depends) take(other, name);
    for (const other of info.before) take(other);
  };
  for (const name of WANTED) take(name);

  /** All that a module needs, itself first and every one before what it needs: modules.dep is loaded from the right. */
  const closure = (name) => {
    const order = [];
    const visit = (one) => {
      if (!taken.has(one) || order.includes(one)) return;
      const { depends, before } = taken.get(one);
      [...before, ...depends].forEach(visit);
      order.push(one);
    };
    visit(name);
    return order.reverse();
  };
  const dep = [...taken.keys()].map((name) => {
    const [own, ...others] = closure(name).map((one) => taken.get(one).file);
    return `${own}:${others.map((one) => ` ${one}`).join('')}\n`;
  });
  const alias = [...taken].flatMap(([name, { aliases }]) => aliases.map((pattern) => `alias ${pattern} ${name}\n`));
  const base = `lib/modules/${release}`;
  const paths = [...taken.values()].map(({ file }) => `${base}/${file}`);
  const folders = new Set([base, ...paths.map((file) => path.dirname(file))].flatMap(parents));
  const text = (lines) => Buffer.from(lines.join(''));
  return [
    ...[...folders].sort().map((one) => ({ kind: 'folder', path: one })),
    ...[...taken.values()].map(({ file, data }) => ({ kind: 'file', path: `${base}/${file}`, mode: 0o644, data })),
    { kind: 'file', path: `${base}/modules.dep`, mode: 0o644, data: text(dep) },
    { kind: 'file', path: `${base}/modules.alias`, mode: 0o644, data: text(alias) },
  ];
}

/** 'a/b/c' as ['a', 'a/b', 'a/b/c']. */
function parents(folder) {
  const parts = folder.split('/');
  return parts.map((_, i) => parts.slice(0, i + 1).join('/'));
}
