/** What a kernel's ELF file tells though it is stripped: its version, symbols, unwinding tables and types. */
import { ElfFile, EM_386, SHF_ALLOC, SHT_NOBITS } from '../../../emulator-core/boot/elf';
import { messageOf } from '../../errors';
import { inSlices } from '../slices';
import { findKallsyms, type Kallsyms } from './kallsyms';
import type { KernelSignature } from './kaslr';
import { KernelSymbols } from './kernelSymbols';
import { OrcTable } from './orc';

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

const BANNER = 'Linux version ';
const MAX_BANNER = 512;
/** Enough of the banner to tell one kernel from others and from format strings. */
const SIGNATURE_BYTES = 64;

/**
 * Reads the image. It does not keep `bytes`.
 * @throws Error that says what was expected
 */
export async function readKernelImage(bytes: Uint8Array, from: string): Promise<KernelImage> {
  const elf = new ElfFile(bytes, 'vmlinux');
  const wide = elf.header.bits === 64 && elf.header.machine !== EM_386;
  const constants = elf.section('.rodata');
  if (!constants || constants.type === SHT_NOBITS)
    throw new Error('vmlinux: expected a section .rodata, which holds the symbols of the kernel');
  const data = elf.sectionData(constants)!;
  const table = await inSlices(findKallsyms(data, { wide, address: constants.address }));
  const symbols = new KernelSymbols(table, from);
  await inSlices(symbols.index());

  const at = symbols.find('linux_banner')?.address;
  const found = at === undefined ? undefined : textAt(data, Number(at - constants.address));
  if (at === undefined || !found?.startsWith(BANNER))
    throw new Error(`vmlinux: expected linux_banner with '${BANNER}...' in .rodata`);
  const problems: string[] = [];
  try {
    symbols.orc = orcOf(elf, versionOf(found));
  } catch (error) {
    problems.push(messageOf(error));
  }
  return {
    banner: found.trimEnd(),
    symbols,
    signature: signatureOf(symbols, table, found, at, wide),
    btf: elf.sectionData('.BTF')?.slice(),
    problems,
  };
}

/** [major, minor] of 'Linux version 6.1.0-13-amd64 ...'. */
export function versionOf(banner: string): [major: number, minor: number] | undefined {
  const found = /^Linux version (\d+)\.(\d+)/.exec(banner);
  return found ? [Number(found[1]), Number(found[2])] : undefined;
}

export function signatureOf(
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

function orcOf(elf: ElfFile, version: [number, number] | undefined): OrcTable | undefined {
  const ip = elf.section('.orc_unwind_ip');
  const entries = elf.section('.orc_unwind');
  if (!ip || !entries || !(ip.flags & BigInt(SHF_ALLOC))) return undefined;
  return new OrcTable({
    ip: elf.sectionData(ip)!,
    ipAddress: ip.address,
    entries: elf.sectionData(entries)!.slice(),
    version,
  });
}

/** The text at an offset, up to its NUL. */
function textAt(data: Uint8Array, at: number): string | undefined {
  if (at < 0 || at >= data.length) return undefined;
  const part = data.subarray(at, at + MAX_BANNER);
  const end = part.indexOf(0);
  return new TextDecoder('latin1').decode(end < 0 ? part : part.subarray(0, end));
}
