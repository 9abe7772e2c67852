/** Initramfs archives. Linux, Documentation/driver-api/early-userspace/buffer-format.rst: the "newc" format of cpio. */

/** One file of the archive, by its path without a leading slash; folders come before what is in them. */
export type Entry = { path: string } & (
  | { kind: 'file'; data: Uint8Array; /** Permission bits; default 0755. */ mode?: number }
  | { kind: 'folder' }
  | { kind: 'link'; target: string }
  | { kind: 'device'; major: number; minor: number }
);

const ALIGNMENT = 4;
const TRAILER = 'TRAILER!!!';
/** File types of st_mode, with the permissions that all of that kind get here. */
const MODE = { file: 0o100000, folder: 0o40755, link: 0o120777, device: 0o20600 };

const encoder = new TextEncoder();

/** The archive of these files, all owned by root, without times: the same files give the same bytes. */
export function newc(entries: readonly Entry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let size = 0;
  const add = (part: Uint8Array): void => {
    parts.push(part);
    size += part.length;
    const padding = -size & (ALIGNMENT - 1);
    if (padding) parts.push(new Uint8Array(padding));
    size += padding;
  };
  const write = (ino: number, path: string, mode: number, data: Uint8Array, rdev: readonly number[] = [0, 0]): void => {
    const name = encoder.encode(`${path}\0`);
    const fields = [
      ...[ino, mode, 0, 0, 1, 0, data.length], // ino mode uid gid nlink mtime filesize
      ...[0, 0, ...rdev, name.length, 0], // devmajor devminor rdevmajor rdevminor namesize check
    ];
    const header = encoder.encode(`070701${fields.map((value) => value.toString(16).padStart(8, '0')).join('')}`);
    const whole = new Uint8Array(header.length + name.length);
    whole.set(header);
    whole.set(name, header.length);
    add(whole);
    add(data);
  };
  const nothing = new Uint8Array(0);
  entries.forEach((entry, i) => {
    const { path, kind } = entry;
    if (kind === 'file') write(i + 1, path, MODE.file | (entry.mode ?? 0o755), entry.data);
    else if (kind === 'link') write(i + 1, path, MODE.link, encoder.encode(entry.target));
    else if (kind === 'device') write(i + 1, path, MODE.device, nothing, [entry.major, entry.minor]);
    else write(i + 1, path, MODE.folder, nothing);
  });
  write(0, TRAILER, 0, nothing);
  const archive = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    archive.set(part, at);
    at += part.length;
  }
  return archive;
}
