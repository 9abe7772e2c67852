/**
 * qcow2 images, read-only: versions 2 and 3, clusters compressed with deflate, zero clusters. Snapshots in the file are ignored: the
 * active state counts. Source: QEMU, docs/interop/qcow2.txt.
 */
import { InflateError, inflateRaw } from '../inflate';
import { ImageError, readExactly, type DiskContents, type ImageFile } from './image';

/** 'QFI\xfb' */
export const QCOW2_MAGIC: readonly number[] = [0x51, 0x46, 0x49, 0xfb];

/** Header fields' offsets. */
const Header = {
  version: 4,
  backingFileOffset: 8,
  backingFileSize: 16,
  clusterBits: 20,
  size: 24,
  encryption: 32,
  l1Size: 36,
  l1TableOffset: 40,
  incompatible: 72,
  compression: 104,
} as const;
const HEADER_BYTES = 112;
/** Incompatible features: what does not keep us from reading is 'dirty' (reference counts) and 'compression type'. */
const Incompatible = { dirty: 1n, corrupt: 2n, externalData: 4n, compressionType: 8n, extendedL2: 16n } as const;

const OFFSET_MASK = 0x00fffffffffffe00n;
const COMPRESSED = 1n << 62n;
const ZERO = 1n;
/** L1 entries of 64 TiB with the usual clusters, as QEMU limits them: 32 MiB. */
const MAX_L1_BYTES = 32 << 20;
/** Bytes of L2 tables and of decompressed clusters that are kept. */
const CACHE_BYTES = 8 << 20;

/** @throws ImageError that names what this reader does not do */
export function openQcow2(file: ImageFile): DiskContents {
  return new Qcow2(file);
}

class Qcow2 implements DiskContents {
  readonly format = 'qcow2';
  readonly size: number;
  private readonly clusterBits: number;
  private readonly clusterSize: number;
  private readonly l1: DataView;
  private readonly tables = new Map<number, Uint8Array>();
  private readonly expanded = new Map<number, Uint8Array>();

  constructor(private readonly file: ImageFile) {
    if (file.size < HEADER_BYTES)
      throw this.error(0, `a qcow2 header has ${HEADER_BYTES} bytes, the file ${file.size}`);
    const header = view(readExactly(file, 0, HEADER_BYTES));
    const version = header.getUint32(Header.version);
    if (version !== 2 && version !== 3) throw this.error(Header.version, `version ${version}, expected 2 or 3`);
    if (header.getBigUint64(Header.backingFileOffset) !== 0n) {
      const name = this.backingName(header);
      const advice = `make one image of both: qemu-img convert -O qcow2 ${file.name} FILE`;
      throw this.error(
        Header.backingFileOffset,
        `it needs the backing file '${name}', which is not supported; ${advice}`,
      );
    }
    this.clusterBits = header.getUint32(Header.clusterBits);
    if (this.clusterBits < 9 || this.clusterBits > 21) {
      throw this.error(Header.clusterBits, `clusters of 2^${this.clusterBits} bytes, expected 2^9 to 2^21`);
    }
    this.clusterSize = 2 ** this.clusterBits;
    const encryption = header.getUint32(Header.encryption);
    if (encryption) throw this.error(Header.encryption, `encryption method ${encryption}; expected none`);
    if (version === 3) this.checkFeatures(header);
    const size = header.getBigUint64(Header.size);
    if (size === 0n || size > 2n ** 53n) throw this.error(Header.size, `a disk of ${size} bytes`);
    this.size = Number(size);
    this.l1 = this.readL1(header);
  }

  readBytes(offset: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let at = 0; at < length;) {
      const inCluster = (offset + at) % this.clusterSize;
      const count = Math.min(this.clusterSize - inCluster, length - at);
      this.readCluster((offset + at - inCluster) / this.clusterSize, inCluster, out.subarray(at, at + count));
      at += count;
    }
    return out;
  }

  private error(offset: number, text: string): ImageError {
    return new ImageError(`'${this.file.name}', offset 0x${offset.toString(16)}: ${text}`);
  }

  private backingName(header: DataView): string {
    const offset = Number(header.getBigUint64(Header.backingFileOffset));
    const length = Math.min(1023, header.getUint32(Header.backingFileSize));
    const bytes = offset + length <= this.file.size ? readExactly(this.file, offset, length) : [];
    return String.fromCharCode(...bytes).replace(/[^ -~]/g, '?');
  }

  private checkFeatures(header: DataView): void {
    const features = header.getBigUint64(Header.incompatible);
    const refused: [bigint, string][] = [
      [Incompatible.corrupt, 'it is marked corrupt: repair it with qemu-img check -r all'],
      [Incompatible.externalData, 'its data is in another file, which is not supported'],
      [Incompatible.extendedL2, 'it has extended L2 entries, which are not supported'],
      [~Object.values(Incompatible).reduce((all, bit) => all | bit, 0n), 'it has unknown incompatible features'],
    ];
    for (const [bits, text] of refused) if (features & bits) throw this.error(Header.incompatible, text);
    const compression = features & Incompatible.compressionType ? header.getUint8(Header.compression) : 0;
    if (compression) {
      throw this.error(Header.compression, `compression type ${compression} (1 is zstd); expected 0, deflate`);
    }
  }

  private readL1(header: DataView): DataView {
    const entries = header.getUint32(Header.l1Size);
    const offset = Number(header.getBigUint64(Header.l1TableOffset));
    const needed = Math.ceil(this.size / this.clusterSize / (this.clusterSize / 8));
    if (entries < needed || 8 * entries > MAX_L1_BYTES) {
      throw this.error(
        Header.l1Size,
        `an L1 table of ${entries} entries; a disk of ${this.size} bytes needs ${needed}`,
      );
    }
    return view(readExactly(this.file, offset, 8 * entries));
  }

  private readCluster(cluster: number, inCluster: number, out: Uint8Array): void {
    const perTable = this.clusterSize / 8;
    const table = Number(this.l1.getBigUint64(8 * Math.floor(cluster / perTable)) & OFFSET_MASK);
    if (table === 0) return;
    const l2 = view(
      cached(this.tables, table, this.clusterSize, () => readExactly(this.file, table, this.clusterSize)),
    );
    const entry = l2.getBigUint64(8 * (cluster % perTable));
    if (entry & COMPRESSED) {
      out.set(this.compressed(entry).subarray(inCluster, inCluster + out.length));
      return;
    }
    const offset = Number(entry & OFFSET_MASK);
    if (entry & ZERO || offset === 0) return;
    if (offset % this.clusterSize) {
      throw this.error(table + 8 * (cluster % perTable), `a cluster at 0x${offset.toString(16)}, which is not aligned`);
    }
    out.set(readExactly(this.file, offset + inCluster, out.length));
  }

  /** "Compressed Clusters Descriptor": offset, and above it the number of further 512-byte sectors. */
  private compressed(entry: bigint): Uint8Array {
    const offsetBits = BigInt(62 - (this.clusterBits - 8));
    const offset = Number(entry & ((1n << offsetBits) - 1n));
    const sectors = Number((entry & (COMPRESSED - 1n)) >> offsetBits);
    return cached(this.expanded, offset, this.clusterSize, () => {
      const length = Math.min((sectors + 1) * 512 - (offset & 511), this.file.size - offset);
      if (length <= 0) throw this.error(offset, 'a compressed cluster behind the end of the file');
      try {
        return inflateRaw(readExactly(this.file, offset, length), this.clusterSize);
      } catch (error) {
        if (!(error instanceof InflateError)) throw error;
        throw this.error(offset, `a compressed cluster: ${error.message}`);
      }
    });
  }
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** The newest uses stay: a Map keeps the order of insertion. */
function cached(cache: Map<number, Uint8Array>, key: number, size: number, make: () => Uint8Array): Uint8Array {
  const value = cache.get(key) ?? make();
  cache.delete(key);
  cache.set(key, value);
  if (cache.size * size > CACHE_BYTES && cache.size > 1) cache.delete(cache.keys().next().value!);
  return value;
}
