/** virtio-vsock: VIRTIO 1.2, "Socket Device"; names of linux/virtio_vsock.h. Streams only, between the guest and CID 2, the host. */
import type { Field } from '../../fields';
import { append, byteQueue, drop, peek, type ByteQueue } from '../../net/byteQueue';
import { decodeStream, encodeStream, MAX_STREAMS, STREAM_WINDOW, type StreamMessage } from '../../net/streams';
import type { VirtioDevice, VirtioHost } from './virtioDevice';
import {
  buildPacket,
  parsePacket,
  VSOCK_HEADER,
  VsockOp,
  VsockShutdown,
  VsockType,
  type VsockPacket,
} from './vsockPacket';

const RECEIVE = 0;
const TRANSMIT = 1;
const EVENT = 2;
const QUEUE_SIZE = 128;
export const HOST_CID = 2;
/** Larger payloads are no packets of a driver's that fits the windows. */
const MAX_PAYLOAD = STREAM_WINDOW;
/** Answers that wait for the driver's buffers; with so many nothing more is taken from it. */
const MAX_ANSWERS = 256;
const FIRST_HOST_PORT = 1 << 30;
/** Virtual time in ns until the guest must have answered a request for a connection. */
const ANSWER_TIME = 10e9;

/** 'opening' and 'requested': the outside, or the guest, is to answer. */
type ConnectionState = 'opening' | 'requested' | 'open';

interface Connection {
  id: number;
  state: ConnectionState;
  guestPort: number;
  hostPort: number;
  /** What the guest takes: its buffer's size, bytes that it has taken out of it, and bytes sent to it. Modulo 2^32. */
  peerBuffer: number;
  peerForwarded: number;
  sent: number;
  /** What the outside takes: bytes of which the guest has been told that they are taken care of, and bytes from the guest. */
  buffer: number;
  forwarded: number;
  received: number;
  /** Value of `forwarded` that the guest knows. */
  told: number;
  waiting: ByteQueue;
  /** The outside has no more data; the guest has been told. */
  outsideShut: boolean;
  shutSent: boolean;
  /** What the guest has shut: bits of VsockShutdown. */
  guestShut: number;
  /** Virtual time by which the guest must have answered; undefined: it has. */
  deadline: number | undefined;
}

interface VsockState {
  connections: Connection[];
  /** Headers for the guest that wait for buffers. */
  answers: VsockPacket[];
  /** The guest is to be told that communication was interrupted; it waits for a buffer. */
  transportReset: boolean;
  nextId: number;
  nextPort: number;
  opened: number;
  refused: number;
  malformed: number;
}

export interface VsockOptions {
  index: number;
  /** The guest's: 3 to 2^32 - 2. */
  cid: number;
  /** Ports of CID 2 that the guest may reach. */
  ports: readonly number[];
}

export class VirtioVsock implements VirtioDevice<VsockState> {
  readonly name: string;
  readonly type = 'vsock';
  readonly features = { STREAM: 0 };
  readonly queues = [
    { name: 'rx', size: QUEUE_SIZE },
    { name: 'tx', size: QUEUE_SIZE },
    { name: 'event', size: 8 },
  ];
  readonly config = new Uint8Array(8);
  private state = initial();
  private readonly ports: ReadonlySet<number>;

  constructor(
    private readonly options: VsockOptions,
    private readonly host: VirtioHost,
  ) {
    this.name = `vsock${options.index}`;
    this.ports = new Set(options.ports);
    new DataView(this.config.buffer).setBigUint64(0, BigInt(options.cid), true);
  }

  notify(): void {
    this.work();
  }

  alarm(): void {
    const now = this.host.now();
    for (const c of [...this.state.connections]) if ((c.deadline ?? Infinity) <= now) this.end(c);
    this.work();
  }

  /** Packets from the guest as long as answers find room, packets to it as long as it has buffers; then the alarm. */
  private work(): void {
    this.deliverEvent();
    do {
      this.deliver();
      this.transmit();
      // What has been taken may have made answers.
    } while (this.deliver() && this.state.answers.length === 0 && this.blocked);
    const { connections } = this.state;
    this.host.alarm(connections.reduce((least, { deadline = Infinity }) => Math.min(least, deadline), Infinity));
  }

  // ---- from the guest --------------------------------------------------------------------------------------------

  /** The last transmit() ended because of answers that wait, not because there was nothing more. */
  private blocked = false;

  private transmit(): void {
    const queue = this.host.queue(TRANSMIT);
    this.blocked = false;
    for (;;) {
      if (this.state.answers.length >= MAX_ANSWERS) {
        this.blocked = true;
        return;
      }
      const chain = queue.pop();
      if (!chain) return;
      const length = Math.min(chain.readableLength, VSOCK_HEADER + MAX_PAYLOAD);
      const packet = parsePacket(chain.read(0, length));
      if (packet && packet.sourceCid === this.options.cid) this.input(packet);
      else this.state.malformed++;
      queue.push(chain, 0);
    }
  }

  private input(packet: VsockPacket): void {
    const { sourcePort: guestPort, destinationPort: hostPort, op } = packet;
    const c = this.state.connections.find((each) => each.guestPort === guestPort && each.hostPort === hostPort);
    if (packet.type !== VsockType.stream || packet.destinationCid !== HOST_CID) {
      this.refuse(packet);
      return;
    }
    if (!c) {
      if (op === VsockOp.request) this.request(packet);
      else this.refuse(packet);
      return;
    }
    c.peerBuffer = packet.bufferSize;
    c.peerForwarded = packet.forwarded;
    switch (op) {
      case VsockOp.response:
        if (c.state !== 'requested') this.abort(c);
        else this.establish(c);
        return;
      case VsockOp.rst:
        this.end(c);
        return;
      case VsockOp.rw:
        this.data(c, packet);
        return;
      case VsockOp.shutdown:
        this.shutdown(c, packet.flags);
        return;
      case VsockOp.creditRequest:
        if (c.state === 'open') this.answer(c, VsockOp.creditUpdate);
        return;
      case VsockOp.creditUpdate:
        return;
      default:
        this.abort(c);
    }
  }

  private request(packet: VsockPacket): void {
    const { state } = this;
    if (!this.ports.has(packet.destinationPort) || state.connections.length >= MAX_STREAMS) {
      this.refuse(packet);
      return;
    }
    const c = connection(state.nextId, 'opening', packet.sourcePort, packet.destinationPort);
    state.nextId += 2;
    c.peerBuffer = packet.bufferSize;
    c.peerForwarded = packet.forwarded;
    state.connections.push(c);
    this.send({ kind: 'open', id: c.id, port: packet.destinationPort, credit: STREAM_WINDOW });
  }

  private data(c: Connection, { data }: VsockPacket): void {
    const room = c.buffer - ((c.received - c.forwarded) >>> 0);
    if (c.state !== 'open' || c.guestShut & VsockShutdown.send || data.length > room) {
      // "must not send more than the peer has room for" ("Buffer Space Management").
      this.abort(c);
      return;
    }
    c.received = (c.received + data.length) >>> 0;
    for (let at = 0; at < data.length; at += MAX_DATA) this.send({ kind: 'data', id: c.id, data: data.subarray(at, at + MAX_DATA) }); // prettier-ignore
  }

  /** "Disconnect": a shutdown of both directions is answered with a reset, which frees the ports. */
  private shutdown(c: Connection, flags: number): void {
    if (c.state !== 'open') {
      this.abort(c);
      return;
    }
    const both = VsockShutdown.receive | VsockShutdown.send;
    const before = c.guestShut;
    c.guestShut |= flags & both;
    if (c.guestShut & ~before & VsockShutdown.send) this.send({ kind: 'shut', id: c.id });
    if (c.guestShut !== both) return;
    this.answer(c, VsockOp.rst);
    // What the outside still sends is answered with a reset: see receive().
    this.forget(c);
  }

  private refuse(packet: VsockPacket): void {
    if (packet.op === VsockOp.rst) return;
    this.state.refused++;
    const { sourcePort, destinationPort, destinationCid, type } = packet;
    this.state.answers.push({
      ...{ sourceCid: destinationCid, destinationCid: this.options.cid },
      ...{ sourcePort: destinationPort, destinationPort: sourcePort },
      ...{ type, op: VsockOp.rst, flags: 0, bufferSize: 0, forwarded: 0, data: NOTHING },
    });
  }

  // ---- from outside ----------------------------------------------------------------------------------------------

  receive(bytes: Uint8Array): void {
    this.handle(decodeStream(bytes));
    this.work();
  }

  private handle(message: StreamMessage): void {
    const c = this.state.connections.find(({ id }) => id === message.id);
    if (message.kind === 'accept') {
      if (!c) this.connect(message);
      return;
    }
    if (!c) {
      if (message.kind === 'data' || message.kind === 'opened') this.send({ kind: 'reset', id: message.id });
      return;
    }
    switch (message.kind) {
      case 'opened':
        if (c.state !== 'opening') return;
        c.state = 'open';
        c.buffer = message.credit;
        this.state.opened++;
        this.answer(c, VsockOp.response);
        return;
      case 'data':
        if (c.outsideShut || c.waiting.length + message.data.length > STREAM_WINDOW) this.abort(c);
        else append(c.waiting, message.data);
        return;
      case 'credit':
        c.forwarded = (c.forwarded + message.count) >>> 0;
        return;
      case 'shut':
        c.outsideShut = true;
        return;
      case 'refused':
      case 'reset':
        this.answer(c, VsockOp.rst);
        this.forget(c);
    }
  }

  private connect({ id, port, credit }: { id: number; port: number; credit: number }): void {
    const { state, host } = this;
    if (!host.active || state.connections.length >= MAX_STREAMS) {
      this.send({ kind: 'refused', id });
      return;
    }
    let hostPort: number;
    do {
      hostPort = state.nextPort;
      state.nextPort = state.nextPort === 0xfffffffe ? FIRST_HOST_PORT : state.nextPort + 1;
    } while (state.connections.some((each) => each.hostPort === hostPort));
    const c = connection(id, 'requested', port, hostPort);
    c.buffer = credit;
    c.deadline = host.now() + ANSWER_TIME;
    state.connections.push(c);
    this.answer(c, VsockOp.request);
  }

  /** "Device Events": the event ends connections that only the guest knows of, too; those being made need a reset of their own. */
  linkLost(): void {
    for (const c of this.state.connections) this.answer(c, VsockOp.rst);
    this.state.connections = [];
    if (this.host.active) this.state.transportReset = true;
    this.work();
  }

  // ---- connections -----------------------------------------------------------------------------------------------

  private establish(c: Connection): void {
    c.state = 'open';
    c.deadline = undefined;
    this.state.opened++;
    this.send({ kind: 'opened', id: c.id, credit: STREAM_WINDOW });
  }

  /** The guest has broken the rules: both sides hear of the end. */
  private abort(c: Connection): void {
    this.answer(c, VsockOp.rst);
    this.end(c);
  }

  /** The outside hears of the end. */
  private end(c: Connection): void {
    this.send({ kind: c.state === 'requested' ? 'refused' : 'reset', id: c.id });
    this.forget(c);
  }

  private forget(c: Connection): void {
    const { state } = this;
    state.connections = state.connections.filter((each) => each !== c);
  }

  private send(message: StreamMessage): void {
    this.host.send(encodeStream(message));
  }

  // ---- to the guest ----------------------------------------------------------------------------------------------

  private packet(c: Connection, op: number, data = NOTHING, flags = 0): VsockPacket {
    c.told = c.forwarded;
    return {
      ...{
        sourceCid: HOST_CID,
        destinationCid: this.options.cid,
        sourcePort: c.hostPort,
        destinationPort: c.guestPort,
      },
      ...{ type: VsockType.stream, op, flags, bufferSize: c.buffer, forwarded: c.forwarded, data },
    };
  }

  private answer(c: Connection, op: number): void {
    if (this.host.active) this.state.answers.push(this.packet(c, op));
  }

  /** Answers, data and news of credit, as far as buffers go; true: all that there was. */
  private deliver(): boolean {
    const { answers } = this.state;
    let done = 0;
    while (done < answers.length && this.put(() => answers[done])) done++;
    answers.splice(0, done);
    if (answers.length > 0) return false;
    return this.state.connections.every((c) => c.state !== 'open' || this.deliverTo(c));
  }

  private deliverTo(c: Connection): boolean {
    // The guest wants no more of it.
    if (c.guestShut & VsockShutdown.receive) drop(c.waiting, c.waiting.length);
    while (c.waiting.length > 0) {
      const credit = c.peerBuffer - ((c.sent - c.peerForwarded) >>> 0);
      if (credit <= 0) break;
      let length = 0;
      const fits = this.put((room) => {
        length = Math.min(c.waiting.length, credit, room);
        return this.packet(c, VsockOp.rw, peek(c.waiting, 0, length));
      });
      if (!fits) return false;
      drop(c.waiting, length);
      c.sent = (c.sent + length) >>> 0;
      if (!c.outsideShut && length > 0) this.send({ kind: 'credit', id: c.id, count: length });
    }
    if (c.outsideShut && !c.shutSent && c.waiting.length === 0) {
      if (!this.put(() => this.packet(c, VsockOp.shutdown, NOTHING, VsockShutdown.send))) return false;
      c.shutSent = true;
    }
    // The guest knows less room than there is: tell it before it waits for that.
    const known = c.buffer - ((c.received - c.told) >>> 0);
    const gain = (c.forwarded - c.told) >>> 0;
    const worth = gain >= c.buffer / 4 || (gain > 0 && known < VSOCK_BUFFER);
    return !worth || this.put(() => this.packet(c, VsockOp.creditUpdate));
  }

  /**
   * Puts a packet into the driver's next buffer; false: there is none.
   * @param make gets the payload bytes that there is room for
   */
  private put(make: (room: number) => VsockPacket): boolean {
    const queue = this.host.queue(RECEIVE);
    for (;;) {
      const chain = queue.pop();
      if (!chain) return false;
      const room = chain.writableLength - VSOCK_HEADER;
      // Of no use for anything: back to the driver, empty.
      if (room < 1) queue.push(chain, 0);
      else {
        queue.push(chain, chain.write(0, buildPacket(make(room))));
        return true;
      }
    }
  }

  private deliverEvent(): void {
    const queue = this.host.queue(EVENT);
    while (this.state.transportReset) {
      const chain = queue.pop();
      if (!chain) return;
      const fits = chain.writableLength >= TRANSPORT_RESET.length;
      queue.push(chain, fits ? chain.write(0, TRANSPORT_RESET) : 0);
      this.state.transportReset = !fits;
    }
  }

  // ---- state -----------------------------------------------------------------------------------------------------

  reset(): void {
    for (const c of [...this.state.connections]) this.end(c);
    this.state = initial();
  }

  save(): VsockState {
    return structuredClone(this.state);
  }

  restore(state: VsockState): void {
    this.state = structuredClone(state);
  }

  describe(): Field[] {
    const { connections, opened, refused, malformed, answers } = this.state;
    return [
      { name: 'guest CID', value: String(this.options.cid) },
      { name: 'reachable ports', value: [...this.ports].join(', ') || 'none', text: `of CID ${HOST_CID}` },
      {
        name: 'connections',
        value: String(connections.length),
        text: `${opened} opened so far, ${refused} refused`,
        children: connections.map((c) => ({
          name: `${this.options.cid}:${c.guestPort} ${c.hostPort >= FIRST_HOST_PORT ? '<-' : '->'} ${HOST_CID}:${c.hostPort}`,
          value: c.state,
          text: `${c.received} bytes from the guest, ${c.sent} to it, ${c.waiting.length} waiting`,
        })),
      },
      { name: 'answers waiting', value: String(answers.length), text: `${malformed} malformed packets from the guest` },
    ];
  }
}

const NOTHING: Uint8Array = new Uint8Array(0);
/** struct virtio_vsock_event with VIRTIO_VSOCK_EVENT_TRANSPORT_RESET: a 32-bit 0. */
const TRANSPORT_RESET: Uint8Array = new Uint8Array(4);
/** Bytes of one data message, as streams.ts bounds them. */
const MAX_DATA = 1 << 16;
/** Linux's receive buffers hold that much: with less room it is time for news of credit. */
const VSOCK_BUFFER = 4096;

function initial(): VsockState {
  const counters = { opened: 0, refused: 0, malformed: 0 };
  return { connections: [], answers: [], transportReset: false, nextId: 1, nextPort: FIRST_HOST_PORT, ...counters };
}

function connection(id: number, state: ConnectionState, guestPort: number, hostPort: number): Connection {
  return {
    ...{ id, state, guestPort, hostPort, peerBuffer: 0, peerForwarded: 0, sent: 0 },
    ...{ buffer: STREAM_WINDOW, forwarded: 0, received: 0, told: 0, waiting: byteQueue() },
    ...{ outsideShut: false, shutSent: false, guestShut: 0, deadline: undefined },
  };
}
