/** virtio-net: VIRTIO 1.2, "Network Device"; names of linux/virtio_net.h. Behind it is the user-mode network of net/userNetwork.ts. */
import type { Field } from '../../fields';
import { MTU } from '../../net/addresses';
import { macText, viewOf } from '../../net/bytes';
import { UserNetwork, type OutgoingFrame, type UserNetworkState } from '../../net/userNetwork';
import { TCP_CHECKSUM } from '../../net/tcpSegment';
import type { Chain } from './queue';
import type { VirtioDevice, VirtioHost } from './virtioDevice';

const RECEIVE = 0;
const TRANSMIT = 1;
const QUEUE_SIZE = 256;

/** "Feature bits". The guest may leave TCP and UDP checksums out and send TCP in large pieces, and takes both. */
const Feature = {
  CSUM: 0,
  GUEST_CSUM: 1,
  MTU: 3,
  MAC: 5,
  GUEST_TSO4: 7,
  HOST_TSO4: 11,
  MRG_RXBUF: 15,
  STATUS: 16,
} as const;
const LINK_UP = 1;
/** struct virtio_net_config up to mtu. */
const CONFIG_BYTES = 12;

/** struct virtio_net_hdr_v1. */
const HEADER_BYTES = 12;
const NEEDS_CSUM = 1;
const GsoType = { none: 0, tcpv4: 1 } as const;
/** A TCP segment that is to be taken apart, with its Ethernet header. */
const MAX_FRAME = 65535 + 14;

/** Frames that wait for the driver's buffers: bulk data below the first bound only, others up to the second. */
const BULK_FRAMES = 32;
const MAX_FRAMES = 512;

interface NetState {
  network: UserNetworkState;
  /** For the guest; the driver has given no buffers for them. */
  waiting: OutgoingFrame[];
  received: number;
  sent: number;
  /** Frames for the guest that found no room. */
  dropped: number;
}

export interface NetOptions {
  index: number;
  /** Six bytes. */
  mac: Uint8Array;
  /** TCP ports that the guest may reach at the gateway's address. */
  ports: readonly number[];
}

export class VirtioNet implements VirtioDevice<NetState> {
  readonly name: string;
  readonly type = 'net';
  readonly features = Feature;
  readonly queues = [
    { name: 'receiveq1', size: QUEUE_SIZE },
    { name: 'transmitq1', size: QUEUE_SIZE },
  ];
  readonly config = new Uint8Array(CONFIG_BYTES);
  private readonly network: UserNetwork;
  private counters = initial();
  private waiting: OutgoingFrame[] = [];

  constructor(
    private readonly options: NetOptions,
    private readonly host: VirtioHost,
  ) {
    this.name = `net${options.index}`;
    this.config.set(options.mac);
    const view = viewOf(this.config);
    view.setUint16(6, LINK_UP, true);
    view.setUint16(8, 1, true); // max_virtqueue_pairs
    view.setUint16(10, MTU, true);
    this.network = new UserNetwork(options, {
      now: () => host.now(),
      frame: (frame) => this.queueFrame(frame),
      room: () => this.waiting.length < BULK_FRAMES,
      offload: () => ({ checksum: host.accepted(Feature.GUEST_CSUM), large: host.accepted(Feature.GUEST_TSO4) }),
      send: (message) => host.send(message),
    });
  }

  notify(queue: number): void {
    if (queue === TRANSMIT) this.transmit();
    this.deliver();
  }

  receive(message: Uint8Array): void {
    this.network.receive(message, this.host.active);
    this.deliver();
  }

  alarm(): void {
    this.network.tcp.alarm();
    this.deliver();
  }

  linkLost(): void {
    this.network.tcp.linkLost();
    this.deliver();
  }

  // ---- from the guest --------------------------------------------------------------------------------------------

  private transmit(): void {
    const queue = this.host.queue(TRANSMIT);
    for (let chain = queue.pop(); chain; chain = queue.pop()) {
      if (chain.readableLength < HEADER_BYTES) {
        this.host.needsReset(`a frame of ${chain.readableLength} bytes to read: expected a header of ${HEADER_BYTES}`);
        return;
      }
      this.take(chain);
      queue.push(chain, 0);
    }
  }

  private take(chain: Chain): void {
    this.counters.sent++;
    const length = chain.readableLength - HEADER_BYTES;
    const header = viewOf(chain.read(0, HEADER_BYTES));
    const gsoType = header.getUint8(1);
    const known = gsoType === GsoType.none || (gsoType === GsoType.tcpv4 && this.host.accepted(Feature.HOST_TSO4));
    if (!known || length > MAX_FRAME) return;
    const unsummed = (header.getUint8(0) & NEEDS_CSUM) !== 0 && this.host.accepted(Feature.CSUM);
    this.network.input(chain.read(HEADER_BYTES, length), unsummed ? header.getUint16(6, true) : 0);
  }

  // ---- to the guest ----------------------------------------------------------------------------------------------

  private queueFrame(frame: OutgoingFrame): void {
    if (this.waiting.length < MAX_FRAMES && this.host.active) this.waiting.push(frame);
    else this.counters.dropped++;
  }

  /** Fills the driver's buffers, as long as there are some and there is something for them; then sets the alarm. */
  private deliver(): void {
    const { network, host } = this;
    for (;;) {
      let count = 0;
      while (count < this.waiting.length && this.fill(this.waiting[count])) count++;
      this.waiting.splice(0, count);
      if (this.waiting.length > 0 || !host.active) break;
      network.tcp.pumpAll();
      if (this.waiting.length === 0) break;
    }
    host.alarm(network.tcp.nextAlarm);
  }

  /** Writes a frame into buffers; false: there are not enough. */
  private fill(frame: OutgoingFrame): boolean {
    const queue = this.host.queue(RECEIVE);
    const length = HEADER_BYTES + frame.bytes.length;
    const merge = this.host.accepted(Feature.MRG_RXBUF);
    const chains: Chain[] = [];
    let room = 0;
    while (room < length) {
      const chain = queue.pop();
      if (!chain) {
        chains.forEach(() => queue.unpop());
        return false;
      }
      chains.push(chain);
      room += chain.writableLength;
      if (!merge) break;
    }
    if (room < length || (merge && chains[0].writableLength < HEADER_BYTES)) {
      // "Setting Up Receive Buffers": they must be large enough. The frame is lost, and the buffers go back empty.
      for (const chain of chains) queue.push(chain, 0);
      this.counters.dropped++;
      return true;
    }
    const bytes = new Uint8Array(length);
    bytes.set(header(frame, chains.length));
    bytes.set(frame.bytes, HEADER_BYTES);
    let at = 0;
    for (const chain of chains) {
      const written = chain.write(0, bytes.subarray(at));
      at += written;
      queue.push(chain, written);
    }
    this.counters.received++;
    return true;
  }

  // ---- state -----------------------------------------------------------------------------------------------------

  reset(): void {
    this.network.reset();
    this.waiting = [];
    this.counters = initial();
  }

  save(): NetState {
    return { ...this.counters, network: this.network.save(), waiting: structuredClone(this.waiting) };
  }

  restore({ network, waiting, ...counters }: NetState): void {
    this.network.restore(network);
    this.waiting = structuredClone(waiting);
    this.counters = counters;
  }

  describe(): Field[] {
    const { received, sent, dropped } = this.counters;
    return [
      { name: 'MAC', value: macText(this.options.mac), text: `link up, MTU ${MTU}` },
      { name: 'sent', value: String(sent), text: 'frames from the guest' },
      {
        name: 'received',
        value: String(received),
        text: `frames to the guest, ${this.waiting.length} waiting, ${dropped} dropped`,
      },
      ...this.network.describe(),
    ];
  }
}

function initial(): Omit<NetState, 'network' | 'waiting'> {
  return { received: 0, sent: 0, dropped: 0 };
}

/** struct virtio_net_hdr_v1 of a frame that takes `buffers` chains. */
function header({ checksumStart, segmentSize, headerLength }: OutgoingFrame, buffers: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = viewOf(bytes);
  if (checksumStart) {
    view.setUint8(0, NEEDS_CSUM);
    view.setUint16(6, checksumStart, true);
    view.setUint16(8, TCP_CHECKSUM, true);
  }
  if (segmentSize) {
    view.setUint8(1, GsoType.tcpv4);
    view.setUint16(2, headerLength, true);
    view.setUint16(4, segmentSize, true);
  }
  view.setUint16(10, buffers, true);
  return bytes;
}
