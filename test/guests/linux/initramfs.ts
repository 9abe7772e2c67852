/** Initramfs images for tests. Linux, Documentation/driver-api/early-userspace/buffer-format.rst: the "newc" format of cpio. */

const REGULAR = 0o100755;
const TRAILER = 'TRAILER!!!';

/** An archive of executable files. */
export function initramfs(files: Readonly<Record<string, Uint8Array>>): Uint8Array {
  const parts: number[] = [];
  const pad = (): void => {
    while (parts.length % 4) parts.push(0);
  };
  const text = (value: string): void => void parts.push(...new TextEncoder().encode(value));
  const entries: [string, Uint8Array][] = [...Object.entries(files), [TRAILER, new Uint8Array(0)]];
  entries.forEach(([name, data], i) => {
    const fields = [
      ...[i + 1, name === TRAILER ? 0 : REGULAR, 0, 0, 1, 0, data.length], // ino mode uid gid nlink mtime filesize
      ...[0, 0, 0, 0, name.length + 1, 0], // devmajor devminor rdevmajor rdevminor namesize check
    ];
    text(`070701${fields.map((value) => value.toString(16).padStart(8, '0')).join('')}${name}\0`);
    pad();
    for (const byte of data) parts.push(byte);
    pad();
  });
  return Uint8Array.from(parts);
}

/** A static x86-64 program of one segment: `code` at `address` plus the headers' 120 bytes. gABI, "ELF Header", "Program Header". */
export function program(address: bigint, code: readonly number[]): { file: Uint8Array; entry: bigint } {
  const HEADERS = 64 + 56;
  const size = HEADERS + code.length;
  const file = new Uint8Array(size);
  const view = new DataView(file.buffer);
  const entry = address + BigInt(HEADERS);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 62, true); // EM_X86_64
  view.setUint32(20, 1, true);
  view.setBigUint64(24, entry, true);
  view.setBigUint64(32, 64n, true); // program headers
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 1, true); // PT_LOAD
  view.setUint32(68, 7, true); // read, write, execute
  view.setBigUint64(80, address, true);
  view.setBigUint64(88, address, true);
  view.setBigUint64(96, BigInt(size), true);
  view.setBigUint64(104, 0x2000n, true); // with some room for a stack
  view.setBigUint64(112, 0x1000n, true);
  file.set(code, HEADERS);
  return { file, entry };
}
