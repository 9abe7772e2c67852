/** What a kernel's stripped ELF file, or its memory, tells: its version, symbols, unwinding tables and types. */
import { ElfFile, EM_386, SHT_NOBITS } from '../../../emulator-core/boot/elf';
import { messageOf } from '../../errors';
import { inSlices, turn } from '../slices';
import { findKallsyms, type Kallsyms } from './kallsyms';
import type { KernelSignature } from './kaslr';
import { KernelSymbols } from './kernelSymbols';
import type { MemoryImage } from './memoryImage';
import { OrcTable, type OrcSections } from './orc';

export interface KernelImage {
  /** linux_banner: 'Linux version 6.1.0 (...) ...'. */
  banner: string;
  symbols: KernelSymbols;
  signature: KernelSignature;
  /** .BTF, a copy: types of the kernel. */
  btf?: Uint8Array;
  /** What could not be used of it, and why. */
  problems: string[];
}

interface Banner {
  /** Offset in the data. */
  at: number;
  text: string;
}

const BANNER = 'Linux version ';
const MAX_BANNER = 512;
const BURST = 1 << 18;
/** Enough of the banner to tell one kernel from others and from format strings. */
const SIGNATURE_BYTES = 64;

/**
 * Reads a kernel's ELF file. It does not keep `bytes`.
 * @throws Error that says what was expected
 */
export async function readKernelImage(bytes: Uint8Array, from: string): Promise<KernelImage> {
  const elf = new ElfFile(bytes, 'vmlinux');
  const wide = elf.header.bits === 64 && elf.header.machine !== EM_386;
  const constants = elf.section('.rodata');
  if (!constants || constants.type === SHT_NOBITS)
    throw new Error('vmlinux: expected a section .rodata, which holds the symbols of the kernel');
  const data = elf.sectionData(constants)!;
  return describeImage({ data, address: constants.address, wide }, from, (_symbols, version) => {
    const ip = elf.section('.orc_unwind_ip');
    const entries = elf.section('.orc_unwind');
    return {
      orc: ip &&
        entries && { ip: elf.sectionData(ip)!, ipAddress: ip.address, entries: elf.sectionData(entries)!, version },
      btf: elf.sectionData('.BTF'),
    };
  });
}

/**
 * Reads a kernel's memory; its symbols have the addresses that it runs at. `image` is not kept.
 * @throws Error that says what was expected
 */
export async function readKernelMemory(image: MemoryImage): Promise<KernelImage> {
  return describeImage(image, 'memory', (symbols, version) => {
    const between = (start: string, stop: string): { address: bigint; data: Uint8Array } | undefined => {
      const low = symbols.find(start)?.address;
      const high = symbols.find(stop)?.address;
      if (low === undefined || high === undefined || low < image.address || high < low) return undefined;
      const data = image.data.subarray(Number(low - image.address), Number(high - image.address));
      return data.length === Number(high - low) ? { address: low, data } : undefined;
    };
    const ip = between('__start_orc_unwind_ip', '__stop_orc_unwind_ip');
    const entries = between('__start_orc_unwind', '__stop_orc_unwind');
    return {
      orc: ip && entries && { ip: ip.data, ipAddress: ip.address, entries: entries.data, version },
      btf: between('__start_BTF', '__stop_BTF')?.data,
    };
  });
}

type Parts = (
  symbols: KernelSymbols,
  version: readonly [number, number] | undefined,
) => { orc: OrcSections | undefined; btf: Uint8Array | undefined };

async function describeImage({ data, address, wide }: MemoryImage, from: string, parts: Parts): Promise<KernelImage> {
  const table = await inSlices(findKallsyms(data, { wide, address }));
  const symbols = new KernelSymbols(table, from);
  await inSlices(symbols.index());
  const known = symbols.find('linux_banner')?.address;
  const found = (known !== undefined && bannerAt(data, Number(known - address))) || (await inSlices(findBanner(data)));
  if (!found) throw new Error(`kernel: expected linux_banner, '${BANNER}' and a number, in ${data.length} bytes`);
  const { text: banner } = found;
  await turn();
  const { orc, btf } = parts(symbols, versionOf(banner));
  const problems: string[] = [];
  try {
    if (orc) symbols.orc = new OrcTable({ ...orc, entries: orc.entries.slice() });
  } catch (error) {
    problems.push(messageOf(error));
  }
  await turn();
  const types = btf?.slice();
  await turn();
  return {
    banner: banner.trimEnd(),
    symbols,
    signature: signatureOf(symbols, table, banner, address + BigInt(found.at), wide),
    btf: types,
    problems,
  };
}

/** [major, minor] of 'Linux version 6.1.0-13-amd64 ...'. */
export function versionOf(banner: string): [major: number, minor: number] | undefined {
  const found = /^Linux version (\d+)\.(\d+)/.exec(banner);
  return found ? [Number(found[1]), Number(found[2])] : undefined;
}

function signatureOf(
  symbols: KernelSymbols,
  table: Kallsyms,
  banner: string,
  bannerAddress: bigint,
  wide: boolean,
): KernelSignature {
  const call = symbols.find(wide ? 'entry_SYSCALL_64' : 'entry_SYSENTER_32')?.address;
  const text = symbols.find('_text')?.address ?? symbols.find('_stext')?.address;
  return {
    wide,
    banner: new TextEncoder().encode(banner.slice(0, SIGNATURE_BYTES)),
    bannerAddress,
    lowest: text ?? table.addresses[table.addresses.length - 1],
    ...(call ? { systemCall: { register: wide ? 'IA32_LSTAR' : 'IA32_SYSENTER_EIP', address: call } } : {}),
  };
}

/** The banner in a kernel's constants: symbols of data are not in every kernel's table. */
function* findBanner(data: Uint8Array): Generator<void, Banner | undefined> {
  const first = BANNER.charCodeAt(0);
  for (let at = 0; at < data.length; at++) {
    if (at % BURST === 0) yield;
    const found = data[at] === first ? bannerAt(data, at) : undefined;
    if (found) return found;
  }
  return undefined;
}

function bannerAt(data: Uint8Array, at: number): Banner | undefined {
  for (let i = 0; i < BANNER.length; i++) if (data[at + i] !== BANNER.charCodeAt(i)) return undefined;
  const part = data.subarray(at, at + MAX_BANNER);
  const end = part.indexOf(0);
  const text = new TextDecoder('latin1').decode(end < 0 ? part : part.subarray(0, end));
  // Formats have a % there.
  return /^Linux version \d/.test(text) ? { at, text } : undefined;
}
