/**
 * virtio-rng: VIRTIO 1.2, "Entropy Device". A run must repeat, so its bytes come from a generator whose state begins with a
 * constant: good for a guest that waits for entropy, not for secrets.
 */
import { hex, type Field } from '../../fields';
import type { VirtioDevice, VirtioHost } from './virtioDevice';

interface RngState {
  /** xorshift64* state (S. Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled"). */
  seed: bigint;
  /** Bytes given so far. */
  given: number;
}

const SEED = 0x9e3779b97f4a7c15n;
const MULTIPLIER = 0x2545f4914f6cdd1dn;
/** A request gets at most that many bytes: a driver asks again for more. */
const MAX_BYTES = 4096;

export class VirtioRng implements VirtioDevice<RngState> {
  readonly name: string;
  readonly type = 'rng';
  readonly features = {};
  readonly queues = [{ name: 'requestq', size: 64 }];
  readonly config = new Uint8Array(0);
  private state: RngState = { seed: SEED, given: 0 };

  constructor(
    index: number,
    private readonly host: VirtioHost,
  ) {
    this.name = `rng${index}`;
  }

  notify(): void {
    const queue = this.host.queue(0);
    for (let chain = queue.pop(); chain; chain = queue.pop()) {
      const written = chain.write(0, this.bytes(Math.min(chain.writableLength, MAX_BYTES)));
      queue.push(chain, written);
    }
  }

  private bytes(length: number): Uint8Array {
    const out = new Uint8Array(Math.ceil(length / 8) * 8);
    const view = new DataView(out.buffer);
    let { seed } = this.state;
    for (let at = 0; at < out.length; at += 8) {
      seed ^= seed >> 12n;
      seed ^= BigInt.asUintN(64, seed << 25n);
      seed ^= seed >> 27n;
      view.setBigUint64(at, BigInt.asUintN(64, seed * MULTIPLIER), true);
    }
    this.state.seed = seed;
    this.state.given += length;
    return out.subarray(0, length);
  }

  reset(): void {
    this.state = { seed: SEED, given: 0 };
  }

  save(): RngState {
    return { ...this.state };
  }

  restore(state: RngState): void {
    this.state = { ...state };
  }

  describe(): Field[] {
    return [
      { name: 'generator', value: hex(this.state.seed, 64), text: 'xorshift64*' },
      { name: 'bytes given', value: String(this.state.given) },
    ];
  }
}
