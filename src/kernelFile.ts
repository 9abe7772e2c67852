/** What kind of bootable image a file is, from its first bytes. No vscode here: tested without an editor. */

export type KernelKind = 'elf' | 'linux' | 'boot sector';

export interface KernelFile {
  kind: KernelKind;
  /** For a list: 'ELF, x86-64', 'Linux bzImage', 'boot sector'. */
  description: string;
}

/** How many bytes `classifyKernel` wants to see. */
export const headerLength = 4096;

const elfMachines = new Map([
  [3, 'i386'],
  [62, 'x86-64'],
]);

/**
 * Recognizes an image that the VMM can boot. Programs for the host (ELF files with an interpreter, shared objects,
 * relocatable files, other processors) are not kernels.
 *
 * ELF: System V ABI, "ELF Header" and "Program Header"; Linux: Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
 *
 * @param bytes the file's first `headerLength` bytes, or all of a shorter file
 */
export function classifyKernel(bytes: Uint8Array): KernelFile | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length >= 52 && view.getUint32(0) === 0x7f454c46) return classifyElf(view);
  if (bytes.length < 512 || view.getUint16(510, true) !== 0xaa55) return undefined;
  if (bytes.length >= 0x206 && view.getUint32(0x202) === 0x48647253) {
    return { kind: 'linux', description: 'Linux bzImage' };
  }
  return { kind: 'boot sector', description: 'boot sector' };
}

function classifyElf(view: DataView): KernelFile | undefined {
  const wide = view.getUint8(4) === 2;
  const machine = elfMachines.get(view.getUint16(18, true));
  const executable = view.getUint16(16, true) === 2;
  const shared = view.getUint16(16, true) === 3;
  if (view.getUint8(5) !== 1 || !machine || !(executable || shared) || (wide && view.byteLength < 64)) return undefined;
  const offset = wide ? Number(view.getBigUint64(32, true)) : view.getUint32(28, true);
  const entrySize = view.getUint16(wide ? 54 : 42, true);
  const entries = view.getUint16(wide ? 56 : 44, true);
  let loadable = false;
  for (let index = 0; index < entries; index++) {
    const at = offset + index * entrySize;
    if (!(at + 4 <= view.byteLength) || entrySize < 32) break;
    const type = view.getUint32(at, true);
    if (type === 3) return undefined; // PT_INTERP: a program for the host
    if (type === 1) loadable = true;
  }
  // A position-independent kernel has its segments in sight; a shared library would look the same but for its name.
  if (entries > 0 && offset < view.byteLength && !loadable) return undefined;
  return { kind: 'elf', description: `ELF, ${machine}` };
}
