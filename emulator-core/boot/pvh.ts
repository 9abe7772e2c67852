/**
 * PVH: a direct entry in 32-bit protected mode, named by an ELF note, with EBX pointing to struct hvm_start_info.
 * Source: Xen, docs/misc/pvh "x86/HVM direct boot ABI"; public/arch-x86/hvm/start_info.h (layout version 1).
 */
import type { EntryState } from './boot';
import { ElfFile } from './elf';
import { flatProtectedEntry } from './entryState';
import { checkedEntry, loadElf } from './loadElf';
import { cmdlineBytes, type BootContext } from './protocol';
import { RSDP_ADDRESS } from './acpi';
import { Writer } from '../writer';

const XEN_ELFNOTE_PHYS32_ENTRY = 18;
const START_INFO_MAGIC = 0x336ec578;

/**
 * The physical entry address of a PVH image, or undefined when the file has no such note.
 * @throws ElfError when the file or the note is malformed
 */
export function pvhEntry(elf: ElfFile): bigint | undefined {
  const note = elf.notes().find((n) => n.name === 'Xen' && n.type === XEN_ELFNOTE_PHYS32_ENTRY);
  if (!note) return undefined;
  const { description } = note;
  const view = new DataView(description.buffer, description.byteOffset, description.length);
  if (description.length === 4) return BigInt(view.getUint32(0, true));
  if (description.length === 8) return view.getBigUint64(0, true);
  return elf.fail(`ELF note Xen, type 18 (PHYS32_ENTRY): ${description.length} bytes, expected 4 or 8`);
}

export function loadPvh(context: BootContext): EntryState {
  const { request, placement } = context;
  const elf = new ElfFile(request.kernel, request.name);
  const entry = pvhEntry(elf);
  if (entry === undefined) throw placement.error('no ELF note Xen of type 18 (PHYS32_ENTRY): not a PVH image');
  const image = loadElf(placement, elf);
  const rip = checkedEntry(placement, image, 'PVH entry', entry);

  const cmdline = placement.allocateLow('command line', cmdlineBytes(context));
  const modules = [...request.modules];
  if (request.initrd) modules.unshift({ name: 'initrd', data: request.initrd, cmdline: '' });
  const list = new Writer();
  for (const m of modules) {
    const gpa = placement.allocate(`module ${m.name}`, m.data, { alignment: 0x1000, floor: 0x100000 });
    const text = m.cmdline ? placement.allocateLow(`command line of ${m.name}`, cmdlineBytes(context, m.cmdline)) : 0;
    list.u64(gpa).u64(m.data.length).u64(text).u64(0);
  }
  const memmap = new Writer();
  for (const range of placement.map) memmap.u64(range.base).u64(range.length).u32(range.type).u32(0);

  const info = new Writer().u32(START_INFO_MAGIC).u32(1).u32(0).u32(modules.length);
  info.u64(modules.length ? placement.allocateLow('PVH module list', list.done()) : 0);
  info.u64(cmdline).u64(RSDP_ADDRESS);
  info.u64(placement.allocateLow('PVH memory map', memmap.done())).u32(placement.map.length).u32(0);
  return flatProtectedEntry(placement, rip, { rbx: placement.allocateLow('hvm_start_info', info.done()) });
}
