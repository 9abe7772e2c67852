/** Initramfs images for tests. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { newc } from '../../../samples/linux/make/newc';

/** An archive of executable files. */
export function initramfs(files: Readonly<Record<string, Uint8Array>>): Uint8Array {
  return newc(Object.entries(files).map(([path, data]) => ({ kind: 'file', path, data })));
}

/**
 * The sample's initramfs (BusyBox and a kernel's modules) with a script in the place of its first program. The kernel unpacks one archive
 * after the other. Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
 * @param init lines of the script: what is in place before them is in PREPARE
 * @param files further ones, executable
 */
export function withInit(
  sample: Uint8Array,
  init: string,
  files: Readonly<Record<string, Uint8Array>> = {},
): Uint8Array {
  const script = new TextEncoder().encode(PREPARE + init);
  const second = initramfs({ init: script, ...files });
  const start = Math.ceil(sample.length / 4) * 4;
  const joined = new Uint8Array(start + second.length);
  joined.set(sample);
  joined.set(second, start);
  return joined;
}

/** BusyBox's commands, /proc, /sys and /tmp, the drivers of the devices that are there. */
const PREPARE = `#!/bin/busybox sh
/bin/busybox mkdir -p /usr/bin /usr/sbin
/bin/busybox --install -s
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmp /tmp
echo 1 > /proc/sys/kernel/printk
for pass in 1 2; do
  find /sys/devices -name modalias -type f | xargs cat | sort -u | xargs modprobe -a -b -q 2>/dev/null
done
`;

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

const IMAGE = 0x400000n;
/** What vsock.asm says it does, as an executable. */
export const vsockProgram = (): Uint8Array => program(IMAGE, [...readFileSync(path.join(__dirname, 'vsock.bin'))]).file;

const OPENAT = [
  ...[0xbc, 0x00, 0x18, 0x40, 0x00], // mov esp, 0x401800
  ...[0xb8, 0x01, 0x01, 0x00, 0x00], // mov eax, 257: openat
  ...[0xbf, 0x9c, 0xff, 0xff, 0xff], // mov edi, -100: AT_FDCWD
  ...[0x48, 0x8d, 0x35, 0x06, 0x00, 0x00, 0x00], // lea rsi, [rip + 6]
  ...[0x31, 0xd2], // xor edx, edx: O_RDONLY
  ...[0x0f, 0x05], // syscall
];
const AGAIN = [
  ...[0xeb, 0xe9], // jmp to mov eax
  ...[0x2f, 0x78, 0x00], // "/x", which does not exist
];
const opens = program(IMAGE, [...OPENAT, ...AGAIN]);
/** A program that opens a file for ever; its stack pointer, and the address behind its system call. */
export const opensForEver = { ...opens, stack: 0x401800n, afterSyscall: opens.entry + BigInt(OPENAT.length) };
