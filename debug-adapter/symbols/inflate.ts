import { ElfFile } from '../../emulator-core/boot/elf';
import { InflateError, inflateZlib } from '../../emulator-core/inflate';
import { Warnings } from './dwarf/sections';

/** Largest section that is decompressed. */
const MAX_INFLATED = 1 << 30;
const ELFCOMPRESS_ZLIB = 1;

/**
 * A section's contents, decompressed where the file has it compressed (gABI, "Section Compression").
 * undefined, with a warning, when it cannot be decompressed. @throws ElfError, InflateError
 */
export function inflateSection(elf: ElfFile, name: string, warnings: Warnings): Uint8Array | undefined {
  const compression = elf.compression(name);
  if (!compression) return elf.sectionData(name);
  if (compression.type !== ELFCOMPRESS_ZLIB || compression.uncompressedSize > BigInt(MAX_INFLATED)) {
    const what = compression.type === ELFCOMPRESS_ZLIB ? 'is too large' : `is compressed by method ${compression.type}`;
    warnings.add(`${elf.name}: section ${name} ${what}; expand it with objcopy --decompress-debug-sections`);
    return undefined;
  }
  // A deflate stream expands at most 1032 times.
  const size = Number(compression.uncompressedSize);
  if (size > compression.data.length * 1040 + 1024) throw new InflateError(`section ${name}: its size cannot be true`);
  return inflateZlib(compression.data, size);
}
