/**
 * The kernel inside a bzImage: where it is, how it is compressed, and the ELF file that comes out.
 * Linux, Documentation/arch/x86/boot.rst: "payload_offset"; the payload of all methods ends with the length of what is in it.
 */
import { isElf } from '../../../emulator-core/boot/elf';
import { SetupHeader } from '../../../emulator-core/boot/linuxSetupHeader';
import { CompressionError } from '../compression/error';
import { expandGzip } from '../compression/gzip';
import { expandLz4 } from '../compression/lz4';
import { expandXz } from '../compression/xz';
import { expandZstd } from '../compression/zstd';
import { inSlices } from '../slices';

/** Largest kernel that is expanded. */
const MAX_KERNEL = 1 << 29;

interface Method {
  name: string;
  magic: readonly number[];
  /** Expands to exactly `size` bytes; absent: this version can't. */
  expand?: (data: Uint8Array, size: number) => Promise<Uint8Array>;
}

/** The kernel's compression methods by the first bytes of their data. */
const METHODS: readonly Method[] = [
  { name: 'LZ4', magic: [0x02, 0x21, 0x4c, 0x18], expand: (data, size) => inSlices(expandLz4(data, size)) },
  { name: 'gzip', magic: [0x1f, 0x8b, 0x08], expand: expandGzip },
  { name: 'XZ', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], expand: (data, size) => inSlices(expandXz(data, size)) },
  { name: 'Zstandard', magic: [0x28, 0xb5, 0x2f, 0xfd], expand: (data, size) => inSlices(expandZstd(data, size)) },
  { name: 'LZMA', magic: [0x5d, 0x00, 0x00] },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68] },
  { name: 'LZO', magic: [0x89, 0x4c, 0x5a, 0x4f] },
];

/** The compressed kernel of a bzImage; undefined when the image is none, or older than Linux 2.6.26. */
export function bzImagePayload(image: Uint8Array): Uint8Array | undefined {
  const header = SetupHeader.of(image);
  if (!header?.has('payload_length')) return undefined;
  const start = header.setupSize + header.get('payload_offset');
  const length = header.get('payload_length');
  if (length < 8 || start + length > image.length) return undefined;
  return image.subarray(start, start + length);
}

/**
 * The kernel's ELF file.
 * @throws CompressionError with the reason: an unknown method, malformed data
 */
export async function expandPayload(payload: Uint8Array): Promise<Uint8Array> {
  if (isElf(payload)) return payload;
  const method = METHODS.find(({ magic }) => startsWith(payload, magic));
  if (!method) {
    const found = Array.from(payload.subarray(0, 4), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const known = METHODS.map(({ name }) => name).join(', ');
    throw new CompressionError('kernel payload', `begins with ${found}, expected the magic number of ${known}`);
  }
  if (!method.expand) throw new CompressionError(method.name, 'this version does not read kernels compressed by it');
  const end = payload.subarray(payload.length - 4);
  const size = (end[0] | (end[1] << 8) | (end[2] << 16) | (end[3] << 24)) >>> 0;
  if (size === 0 || size > MAX_KERNEL)
    throw new CompressionError(
      method.name,
      `its last word gives a kernel of ${size} bytes, expected 1 to ${MAX_KERNEL}`,
    );
  return method.expand(payload, size);
}

function startsWith(data: Uint8Array, magic: readonly number[]): boolean {
  return magic.every((byte, i) => data[i] === byte);
}
