/**
 * virtio-9p: VIRTIO 1.2, "Device Types" (9P transport), and linux/virtio_9p.h; QEMU's "9p virtio" is laid out the same. Every chain is
 * a 9P request to read and room for its reply. The files are outside of the machine: see ninep/shareMessages.ts.
 */
import type { Field } from '../../fields';
import { HEADER_BYTES } from '../../ninep/messages';
import { showPath } from '../../ninep/paths';
import { ERROR_BYTES, MAX_MSIZE, Session, WRITE_HEADER_BYTES, type SessionState } from '../../ninep/session';
import type { Segment } from './queue';
import type { VirtioDevice, VirtioHost } from './virtioDevice';

/** Linux's driver: VIRTQUEUE_NUM. */
const QUEUE_SIZE = 128;
const REQUESTS = 0;
/** Fids that a description lists. */
const MAX_SHOWN = 200;

/** What is kept of a chain until its request is answered. */
interface Buffers {
  head: number;
  readable: readonly Segment[];
  writable: readonly Segment[];
  /** Bytes of `writable`. */
  room: number;
}

export interface NinepOptions {
  index: number;
  /** By which the guest mounts it: ASCII. */
  tag: string;
  /** For descriptions: the folder outside, and whether the guest may change what is in it. */
  root: string;
  writable: boolean;
}

export class VirtioNinep implements VirtioDevice<SessionState<Buffers>> {
  readonly name: string;
  readonly type = '9p';
  readonly features = { MOUNT_TAG: 0 };
  readonly queues = [{ name: 'requestq', size: QUEUE_SIZE }];
  readonly config: Uint8Array;
  private readonly session: Session<Buffers>;

  constructor(
    private readonly options: NinepOptions,
    private readonly host: VirtioHost,
  ) {
    this.name = shareDeviceName(options.index);
    this.config = makeConfig(options.tag);
    this.session = new Session<Buffers>({
      ask: (message) => host.send(message),
      reply: (buffers, message) => this.reply(buffers, message),
      room: ({ room }) => room,
      writeData: (buffers, length) => this.revive(buffers).read(WRITE_HEADER_BYTES, length),
    });
  }

  notify(): void {
    this.serve();
  }

  receive(message: Uint8Array): void {
    this.session.answered(message);
    this.serve();
  }

  linkLost(): void {
    this.session.lost();
    this.serve();
  }

  /** Takes requests while there are some and not too many are under way; else they wait in the ring. */
  private serve(): void {
    const queue = this.host.queue(REQUESTS);
    while (this.session.ready) {
      const chain = queue.pop();
      if (!chain) return;
      const { head, readable, writable, readableLength, writableLength } = chain;
      if (readableLength < HEADER_BYTES || writableLength < ERROR_BYTES) {
        const lengths = `${readableLength} bytes to read, ${writableLength} to write`;
        this.host.needsReset(`a request of ${lengths}: expected at least ${HEADER_BYTES} and ${ERROR_BYTES}`);
        return;
      }
      // One byte more than may be shows that there are too many.
      const message = chain.read(0, MAX_MSIZE + 1);
      this.session.request(message, { head, readable, writable, room: writableLength });
    }
  }

  private revive({ head, readable, writable }: Buffers) {
    return this.host.queue(REQUESTS).revive(head, readable, writable);
  }

  private reply(buffers: Buffers, message: Uint8Array): void {
    const chain = this.revive(buffers);
    chain.write(0, message);
    this.host.queue(REQUESTS).push(chain, message.length);
  }

  reset(): void {
    this.session.reset();
  }

  save(): SessionState<Buffers> {
    return this.session.save();
  }

  restore(state: SessionState<Buffers>): void {
    this.session.restore(state);
  }

  describe(): Field[] {
    const { session, options } = this;
    const counts = session.counts.map(([name, count]) => `${name} ${count}`);
    const fids = session.fids.entries();
    return [
      { name: 'mount tag', value: options.tag },
      { name: 'folder', value: options.root, text: options.writable ? 'read and write' : 'read only' },
      { name: 'msize', value: String(session.msize), text: session.msize ? 'bytes, 9P2000.L' : 'no session' },
      {
        name: 'fids',
        value: String(fids.length),
        children: fids.slice(0, MAX_SHOWN).map(([number, { path, open }]) => ({
          name: String(number),
          value: showPath(path),
          ...(open ? { text: ['', 'open to read', 'open to write', 'open to read and write'][open] } : {}),
        })),
      },
      { name: 'under way', value: String(session.waiting), text: 'requests that wait for the folder' },
      { name: 'requests', value: counts.join(', '), text: `${session.failed} failed` },
    ];
  }
}

/** The name of a share's device, by which messages from outside find it. */
export function shareDeviceName(index: number): string {
  return `share${index}`;
}

/** struct virtio_9p_config: le16 tag_len, u8 tag[tag_len]. */
function makeConfig(tag: string): Uint8Array {
  const text = Uint8Array.from(tag, (character) => character.charCodeAt(0));
  return Uint8Array.of(text.length & 0xff, text.length >> 8, ...text);
}
