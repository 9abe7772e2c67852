/** A small Debian with systemd on a disk image: a raw ext4 file system, without a partition table. */
import { spawnSync } from 'node:child_process';
import { appendFileSync, chmodSync, closeSync, existsSync, mkdirSync, mkdtempSync, openSync } from 'node:fs';
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { say, UserError } from '../../../scripts/lib/project.mjs';

/** Beyond Debian's essential packages. udev makes the serial console's device unit, which its getty waits for. */
const INCLUDE = ['systemd-sysv', 'udev', 'dbus', 'kmod', 'iproute2', 'procps'];
const SIZE = 1 << 30;

const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;
const has = (program) => PATH.split(':').some((folder) => existsSync(path.join(folder, program)));

/** Runs a command with its output in a log file. */
function logged(log, name, args) {
  const file = openSync(log, 'a');
  const env = { ...process.env, PATH, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' };
  const done = spawnSync(name, args, { stdio: ['ignore', file, file], env });
  closeSync(file);
  if (done.status === 0) return;
  const tail = readFileSync(log, 'utf8').trim().split('\n').slice(-12).join('\n');
  throw new UserError(`${name} failed: ${done.error?.message ?? `status ${done.status ?? done.signal}`}\n${tail}`);
}

/** The archive that this system is installed from, and its suite: from apt's own sources. */
function archive(packages) {
  const targets = packages
    .targets('amd64', '$(REPO_URI)|$(CODENAME)|$(COMPONENT)|$(ORIGIN)')
    .map((line) => line.split('|'))
    .filter(([, suite, component, origin]) => component === 'main' && origin === 'Debian' && /^\w+$/.test(suite));
  if (!targets.length) throw new UserError("the root disk is a Debian: apt's sources have none (origin Debian, main)");
  return { uri: targets[0][0], suite: targets[0][1] };
}

/** The files in which the root disk differs from what the packages install; `$1` of a hook, or a folder. */
const SETUP = `
set -e
sed -i 's/^root:[^:]*:/root::/' "$1/etc/shadow"
echo ringside > "$1/etc/hostname"
echo '/dev/vda / ext4 defaults 0 1' > "$1/etc/fstab"
rm -f "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*_* "$1/etc/resolv.conf"
`;

/** Ways to make it, best first. */
const METHODS = [
  {
    name: 'debootstrap',
    possible: () => has('debootstrap') && process.getuid() === 0,
    make({ uri, suite }, image, log) {
      const tree = `${image}.tree`;
      try {
        const include = `--include=${INCLUDE.join(',')}`;
        logged(log, 'debootstrap', ['--arch=amd64', '--variant=minbase', include, suite, tree, uri]);
        logged(log, 'sh', ['-c', SETUP, 'sh', tree]);
        logged(log, 'mke2fs', ['-q', '-F', '-t', 'ext4', '-L', 'ringside', '-d', tree, image]);
      } finally {
        rmSync(tree, { recursive: true, force: true });
      }
    },
  },
  {
    name: 'mmdebstrap',
    // Every user may.
    possible: () => has('mmdebstrap') && (process.getuid() === 0 || has('newuidmap')),
    make({ uri, suite }, image, log) {
      const mode = process.getuid() === 0 ? 'root' : 'unshare';
      logged(log, 'mmdebstrap', [
        ...[`--mode=${mode}`, '--variant=minbase', `--include=${INCLUDE.join(',')}`, '--format=null'],
        ...[`--customize-hook=${SETUP}`, `--customize-hook=mke2fs -q -F -t ext4 -L ringside -d "$1" '${image}'`],
        ...[suite, '/dev/null', uri],
      ]);
    },
  },
];

/** Makes `file`. @throws UserError that names what is missing */
export function makeRootDisk(file, packages) {
  if (!has('mke2fs')) throw new UserError("the root disk needs mke2fs: install Debian's package e2fsprogs");
  const method = METHODS.find(({ possible }) => possible());
  if (!method) {
    throw new UserError(
      'the root disk needs mmdebstrap and uidmap (any user) or debootstrap (root): apt-get install mmdebstrap uidmap',
    );
  }
  const from = archive(packages);
  const log = path.join(path.dirname(file), 'make.log');
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(log, '');
  say(`Installing Debian ${from.suite} with ${method.name}: minutes; what it says is in ${path.relative('.', log)}`);
  // In a user namespace mmdebstrap is another user: it must reach the image.
  const temporary = mkdtempSync(path.join(os.tmpdir(), 'ringside-root-'));
  try {
    chmodSync(temporary, 0o755);
    const image = path.join(temporary, 'root.img');
    appendFileSync(image, '');
    truncateSync(image, SIZE);
    chmodSync(image, 0o666);
    method.make(from, image, log);
    logged(log, 'cp', ['--sparse=always', image, file]);
    chmodSync(file, 0o644);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}
