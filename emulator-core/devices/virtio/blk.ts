/** virtio-blk: VIRTIO 1.2, "Block Device"; names of linux/virtio_blk.h. Requests complete before the driver's notification does. */
import { SECTOR, type Disk } from '../../disk/disk';
import type { Field } from '../../fields';
import type { Chain } from './queue';
import type { VirtioDevice, VirtioHost } from './virtioDevice';

const Request = { in: 0, out: 1, flush: 4, getId: 8, discard: 11, writeZeroes: 13 } as const;
type RequestName = keyof typeof Request;
const Status = { ok: 0, ioError: 1, unsupported: 2 } as const;

/** struct virtio_blk_req without its data and status. */
const HEADER_BYTES = 16;
/** struct virtio_blk_discard_write_zeroes. */
const RANGE_BYTES = 16;
const ID_BYTES = 20;
const QUEUE_SIZE = 128;

/** Limits that the configuration space announces. */
const SEG_MAX = QUEUE_SIZE - 2;
const SIZE_MAX = 64 << 10;
const BLOCK_BYTES = 512;
/** Physical blocks are 2^3 logical ones. */
const PHYSICAL_BLOCK_EXP = 3;
const MAX_RANGE_SECTORS = 16384;
const MAX_RANGES = 16;

interface BlkState {
  requests: Record<RequestName, number>;
  failed: number;
}

export interface BlkOptions {
  index: number;
  disk: Disk;
  /** Something the user should know: an image that can't be read. */
  note(text: string): void;
}

export class VirtioBlk implements VirtioDevice<BlkState> {
  readonly name: string;
  readonly type = 'block';
  readonly features: Record<string, number>;
  readonly queues = [{ name: 'requestq', size: QUEUE_SIZE }];
  readonly config: Uint8Array;
  private state = initial();
  private readonly disk: Disk;
  /** Whole sectors: an image that ends in one reads as zeros from there. */
  private readonly sectors: number;

  constructor(
    private readonly options: BlkOptions,
    private readonly host: VirtioHost,
  ) {
    const { disk, index } = options;
    this.name = `disk${index}`;
    this.disk = disk;
    this.sectors = Math.ceil(disk.size / SECTOR);
    const readonly = disk.access === 'readonly';
    this.features = {
      SIZE_MAX: 1,
      SEG_MAX: 2,
      BLK_SIZE: 6,
      FLUSH: 9,
      TOPOLOGY: 10,
      ...(readonly ? { RO: 5 } : { DISCARD: 13, WRITE_ZEROES: 14 }),
    };
    this.config = this.makeConfig();
  }

  /** struct virtio_blk_config. */
  private makeConfig(): Uint8Array {
    const config = new Uint8Array(60);
    const view = new DataView(config.buffer);
    view.setBigUint64(0, BigInt(this.sectors), true);
    view.setUint32(8, SIZE_MAX, true);
    view.setUint32(12, SEG_MAX, true);
    view.setUint32(20, BLOCK_BYTES, true);
    view.setUint8(24, PHYSICAL_BLOCK_EXP);
    view.setUint16(26, 1 << PHYSICAL_BLOCK_EXP, true); // min_io_size, in logical blocks
    view.setUint16(34, 1, true); // num_queues
    view.setUint32(36, MAX_RANGE_SECTORS, true);
    view.setUint32(40, MAX_RANGES, true);
    view.setUint32(44, 1 << PHYSICAL_BLOCK_EXP, true); // discard_sector_alignment
    view.setUint32(48, MAX_RANGE_SECTORS, true);
    view.setUint32(52, MAX_RANGES, true);
    view.setUint8(56, 1); // write_zeroes_may_unmap
    return config;
  }

  notify(): void {
    const queue = this.host.queue(0);
    for (let chain = queue.pop(); chain; chain = queue.pop()) {
      if (chain.readableLength < HEADER_BYTES || chain.writableLength < 1) {
        const lengths = `${chain.readableLength} bytes to read, ${chain.writableLength} to write`;
        this.host.needsReset(`a request of ${lengths}: expected a header of 16 and a status byte`);
        return;
      }
      const { status, written } = this.carryOut(chain);
      if (status !== Status.ok) this.state.failed++;
      // The status is the last writable byte.
      chain.write(chain.writableLength - 1, Uint8Array.of(status));
      queue.push(chain, written + 1);
    }
  }

  private carryOut(chain: Chain): { status: number; written: number } {
    const header = new DataView(chain.read(0, HEADER_BYTES).buffer);
    const type = header.getUint32(0, true);
    const sector = header.getBigUint64(8, true);
    const name = (Object.keys(Request) as RequestName[]).find((each) => Request[each] === type);
    if (name) this.state.requests[name]++;
    const done = (ok: boolean, written = 0) => ({ status: ok ? Status.ok : Status.ioError, written: ok ? written : 0 });
    try {
      switch (name) {
        case 'in': {
          const offset = this.place(sector, chain.writableLength - 1);
          return done(offset !== undefined && this.read(chain, offset), chain.writableLength - 1);
        }
        case 'out': {
          const length = chain.readableLength - HEADER_BYTES;
          const offset = this.place(sector, length);
          return done(offset !== undefined && this.write(offset, chain.read(HEADER_BYTES, length)));
        }
        case 'flush':
          return done(true);
        case 'getId':
          return done(true, chain.write(0, this.id().subarray(0, chain.writableLength - 1)));
        case 'discard':
        case 'writeZeroes':
          return done(this.zero(chain));
        default:
          return { status: Status.unsupported, written: 0 };
      }
    } catch (error) {
      // The image file: it was cut or damaged, or is on a disk that fails.
      this.options.note(`${this.name}: ${(error as Error).message}`);
      return done(false);
    }
  }

  /** Byte offset of a transfer that lies on the disk and within the limits; else undefined. */
  private place(sector: bigint, length: number): number | undefined {
    if (length % SECTOR || length > SEG_MAX * SIZE_MAX) return undefined;
    if (sector + BigInt(length / SECTOR) > BigInt(this.sectors)) return undefined;
    return Number(sector) * SECTOR;
  }

  private read(chain: Chain, offset: number): boolean {
    const length = chain.writableLength - 1;
    const inside = Math.min(length, this.disk.size - offset);
    chain.write(0, this.disk.readBytes(offset, inside));
    if (inside < length) chain.write(inside, new Uint8Array(length - inside));
    return true;
  }

  private write(offset: number, data: Uint8Array): boolean {
    return this.disk.writeBytes(offset, data.subarray(0, Math.min(data.length, this.disk.size - offset)));
  }

  private zero(chain: Chain): boolean {
    const length = chain.readableLength - HEADER_BYTES;
    if (length === 0 || length % RANGE_BYTES || length > MAX_RANGES * RANGE_BYTES) return false;
    const ranges = new DataView(chain.read(HEADER_BYTES, length).buffer);
    for (let at = 0; at < length; at += RANGE_BYTES) {
      const count = ranges.getUint32(at + 8, true);
      const offset = count <= MAX_RANGE_SECTORS ? this.place(ranges.getBigUint64(at, true), count * SECTOR) : undefined;
      if (offset === undefined) return false;
      if (!this.disk.zero(offset, Math.min(count * SECTOR, this.disk.size - offset))) return false;
    }
    return true;
  }

  /** The serial number, padded with zeros. */
  private id(): Uint8Array {
    return Uint8Array.from({ length: ID_BYTES }, (_, i) => this.name.charCodeAt(i) || 0);
  }

  reset(): void {
    this.state = initial();
  }

  save(): BlkState {
    return structuredClone(this.state);
  }

  restore(state: BlkState): void {
    this.state = structuredClone(state);
  }

  describe(): Field[] {
    const counts = Object.entries(this.state.requests).map(([name, count]) => `${name} ${count}`);
    return [
      { name: 'capacity', value: String(this.sectors), text: `sectors of ${SECTOR} bytes` },
      ...this.disk.describe(),
      { name: 'requests', value: counts.join(', '), text: `${this.state.failed} failed` },
    ];
  }
}

function initial(): BlkState {
  return { requests: { in: 0, out: 0, flush: 0, getId: 0, discard: 0, writeZeroes: 0 }, failed: 0 };
}
