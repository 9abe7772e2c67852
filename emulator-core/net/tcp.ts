/**
 * The other end of the guest's TCP connections: RFC 9293. What the guest sends goes into a stream outside, what comes from there to the
 * guest. The wire between is a virtqueue, which loses nothing and keeps the order: there is no congestion to control, round trips are
 * far below the least retransmission timeout (RFC 6298), segments out of order are left to be sent again. Options: maximum segment size,
 * window scale.
 */
import { GATEWAY } from './addresses';
import { append, drop, peek } from './byteQueue';
import { MAX_STREAM_DATA, MAX_STREAMS, STREAM_WINDOW, type StreamMessage } from './streams';
import { newConnection, RECEIVE_SCALE, takeSyn, type TcpConnection, type TcpEnds } from './tcpConnection';
import { seqAdd, seqDiff, TcpFlag, type TcpSegment } from './tcpSegment';

export interface TcpHost {
  /** Virtual time in ns. */
  now(): number;
  /** Whether the guest may have this port of the gateway's. */
  allowed(port: number): boolean;
  /** Sends a segment to the guest. */
  segment(ends: TcpEnds, segment: TcpSegment, mss: number): void;
  /** Whether there is room for another segment with data. */
  room(): boolean;
  /** The guest's network interface takes segments apart: they may be larger than its maximum. */
  large(): boolean;
  send(message: StreamMessage): void;
}

export interface TcpState {
  connections: TcpConnection[];
  /** Of the next stream that the guest opens. */
  nextId: number;
  /** Local port of the next connection to the guest. */
  nextPort: number;
  opened: number;
  refused: number;
}

/** The largest segment on Ethernet. */
export const MSS = 1460;
/** Data in one segment that the guest's interface takes apart, in segments of the largest size. */
const LARGE_SEGMENTS = 44;
const FIRST_EPHEMERAL_PORT = 49152;
const LAST_PORT = 65535;

const SECOND = 1e9;
/** RFC 6298, section 2: the least timeout; the initial one, too. */
const TIMEOUT = SECOND;
const MAX_TIMEOUT = 60 * SECOND;
const MAX_RETRIES = 10;
const MAX_SYN_RETRIES = 5;
const TIME_WAIT = 60 * SECOND;
const DUPLICATE_ACKS = 3;

export function initialTcp(): TcpState {
  return { connections: [], nextId: 1, nextPort: FIRST_EPHEMERAL_PORT, opened: 0, refused: 0 };
}

const NOTHING = new Uint8Array(0);
const { fin: FIN, syn: SYN, rst: RST, psh: PSH, ack: ACK } = TcpFlag;

export class Tcp {
  constructor(
    /** Plain data, the owner's. */
    public state: TcpState,
    private readonly host: TcpHost,
  ) {}

  // ---- from the guest --------------------------------------------------------------------------------------------

  /** A segment from the guest: RFC 9293, section 3.10.7, "SEGMENT ARRIVES". */
  input(ends: TcpEnds, s: TcpSegment): void {
    const c = this.find(ends);
    if (!c) this.arrivesClosed(ends, s);
    else if (c.state === 'opening') this.arrivesOpening(c, s);
    else if (c.state === 'syn-sent') this.arrivesSynSent(c, s);
    else this.arrives(c, s);
  }

  private find(ends: TcpEnds): TcpConnection | undefined {
    return this.state.connections.find(
      (c) =>
        c.guestPort === ends.guestPort &&
        c.hostPort === ends.hostPort &&
        c.guestAddress === ends.guestAddress &&
        c.hostAddress === ends.hostAddress,
    );
  }

  private arrivesClosed(ends: TcpEnds, s: TcpSegment): void {
    if (s.flags & RST) return;
    const wanted = (s.flags & (SYN | ACK | FIN)) === SYN && ends.hostAddress === GATEWAY;
    if (wanted && this.host.allowed(ends.hostPort) && this.makeRoom()) {
      const { state } = this;
      const c = newConnection(ends, state.nextId, 'opening', this.host.now());
      state.nextId += 2;
      takeSyn(c, s, MSS);
      state.connections.push(c);
      this.host.send({ kind: 'open', id: c.id, port: ends.hostPort, credit: STREAM_WINDOW });
      return;
    }
    this.state.refused++;
    this.refuse(ends, s);
  }

  /** The reset that answers a segment of no connection: section 3.10.7.1. */
  private refuse(ends: TcpEnds, s: TcpSegment): void {
    if (s.flags & ACK) this.plain(ends, RST, s.ack, 0);
    else this.plain(ends, RST | ACK, 0, seqAdd(s.seq, segmentLength(s)));
  }

  /** Nothing has been promised yet: only a reset counts, and a SYN sent again waits as the first one. */
  private arrivesOpening(c: TcpConnection, s: TcpSegment): void {
    if (s.flags & RST && s.seq === c.rcvNxt) this.end(c, 'reset');
  }

  private arrivesSynSent(c: TcpConnection, s: TcpSegment): void {
    const acks = (s.flags & ACK) !== 0;
    if (acks && s.ack !== c.sndMax) {
      if (!(s.flags & RST)) this.plain(c, RST, s.ack, 0);
      return;
    }
    if (s.flags & RST) {
      if (acks) this.end(c, 'refused');
      return;
    }
    if (!(s.flags & SYN)) return;
    takeSyn(c, s, MSS);
    if (!acks) {
      // Both have sent a SYN.
      c.state = 'syn-received';
      this.synAck(c);
      return;
    }
    c.sndUna = s.ack;
    c.sndWl2 = s.ack;
    c.ackDue = true;
    this.establish(c);
    this.pump(c);
  }

  private arrives(c: TcpConnection, s: TcpSegment): void {
    if (s.flags & SYN && s.flags & ~ACK & (RST | FIN)) return;
    if (s.flags === SYN && c.state === 'time-wait' && seqDiff(s.seq, c.rcvNxt) > 0) {
      // Section 3.10.7.4: a new connection may follow the old one.
      this.forget(c);
      this.arrivesClosed(c, s);
      return;
    }
    if (s.flags === SYN && c.state === 'syn-received' && seqAdd(s.seq, 1) === c.rcvNxt) {
      this.synAck(c);
      return;
    }
    const fits = this.acceptable(c, s);
    if (s.flags & RST) {
      if (s.seq === c.rcvNxt) this.end(c, 'reset');
      else if (fits) this.challenge(c);
      return;
    }
    // With a closed window, what else a probe says counts still.
    if (!fits && !(this.receives(c) && c.credit === 0 && s.seq === c.rcvNxt)) {
      if (c.state === 'time-wait' && s.flags & FIN) c.deadline = this.host.now() + TIME_WAIT;
      this.challenge(c);
      return;
    }
    if (s.flags & SYN) {
      this.challenge(c);
      return;
    }
    if (!(s.flags & ACK) || !this.acknowledged(c, s)) return;
    if (this.receives(c)) this.takeData(c, s);
    this.pump(c);
  }

  /** Section 3.10.7.4, "First, check sequence number". */
  private acceptable(c: TcpConnection, s: TcpSegment): boolean {
    const window = this.receives(c) ? c.credit : 0;
    const length = segmentLength(s);
    const inside = (seq: number): boolean => seqDiff(seq, c.rcvNxt) >= 0 && seqDiff(seq, c.rcvNxt) < window;
    if (s.seq === c.rcvNxt && s.data.length === 0) return true;
    return length === 0 ? inside(s.seq) : inside(s.seq) || inside(seqAdd(s.seq, length - 1));
  }

  /** Whether data may still come from the guest. */
  private receives({ state }: TcpConnection): boolean {
    return state === 'syn-received' || state === 'established' || state === 'fin-wait-1' || state === 'fin-wait-2';
  }

  /** Takes what a segment acknowledges; false: the segment says no more. */
  private acknowledged(c: TcpConnection, s: TcpSegment): boolean {
    const advance = seqDiff(s.ack, c.sndUna);
    if (seqDiff(s.ack, c.sndMax) > 0) {
      if (c.state === 'syn-received') this.plain(c, RST, s.ack, 0);
      else this.challenge(c);
      return false;
    }
    if (c.state === 'syn-received') {
      if (advance <= 0) {
        this.plain(c, RST, s.ack, 0);
        return false;
      }
      this.establish(c);
    }
    const window = s.window << c.sndScale;
    if (advance > 0) this.advance(c, s.ack);
    else if (advance === 0 && s.data.length === 0 && window === c.sndWnd && c.sndMax !== c.sndUna && window > 0) {
      if (++c.duplicateAcks === DUPLICATE_ACKS) c.sndNxt = c.sndUna;
    }
    if (advance < 0) return true;
    const newer = seqDiff(s.seq, c.sndWl1);
    if (newer > 0 || (newer === 0 && seqDiff(s.ack, c.sndWl2) >= 0)) {
      c.sndWnd = window;
      c.sndWl1 = s.seq;
      c.sndWl2 = s.ack;
    }
    // The window is open again: what was sent into the closed one is not there.
    if (c.probing && c.sndWnd > 0) {
      c.probing = false;
      c.sndNxt = c.sndUna;
    }
    if (c.probing) c.retries = Math.min(c.retries, MAX_RETRIES - 1);
    return true;
  }

  private advance(c: TcpConnection, ack: number): void {
    c.sndUna = ack;
    if (seqDiff(ack, c.sndNxt) > 0) c.sndNxt = ack;
    c.deadline = undefined;
    c.retries = 0;
    c.duplicateAcks = 0;
    const data = Math.max(0, Math.min(seqDiff(ack, c.bufferSeq), c.buffer.length));
    drop(c.buffer, data);
    c.bufferSeq = seqAdd(c.bufferSeq, data);
    c.sent += data;
    c.freed += data;
    if (c.freed > 0 && !c.outsideShut && (c.buffer.length === 0 || c.freed >= STREAM_WINDOW / 4)) {
      this.host.send({ kind: 'credit', id: c.id, count: c.freed });
      c.freed = 0;
    }
    // The FIN comes last.
    if (seqDiff(ack, c.bufferSeq) <= c.buffer.length) return;
    if (c.state === 'fin-wait-1') c.state = 'fin-wait-2';
    else if (c.state === 'closing') this.enterTimeWait(c);
    else if (c.state === 'last-ack') this.forget(c);
  }

  private takeData(c: TcpConnection, s: TcpSegment): void {
    const skip = seqDiff(c.rcvNxt, s.seq);
    if (segmentLength(s) === 0) return;
    c.ackDue = true;
    if (skip < 0 || skip > s.data.length) return;
    const data = s.data.subarray(skip, skip + c.credit);
    for (let at = 0; at < data.length; at += MAX_STREAM_DATA) {
      this.host.send({ kind: 'data', id: c.id, data: data.subarray(at, at + MAX_STREAM_DATA) });
    }
    c.credit -= data.length;
    c.received += data.length;
    c.rcvNxt = seqAdd(c.rcvNxt, data.length);
    if (!(s.flags & FIN) || skip + data.length < s.data.length) return;
    c.rcvNxt = seqAdd(c.rcvNxt, 1);
    this.host.send({ kind: 'shut', id: c.id });
    if (c.state === 'established') c.state = 'close-wait';
    else if (c.state === 'fin-wait-1') c.state = 'closing';
    else this.enterTimeWait(c);
  }

  private enterTimeWait(c: TcpConnection): void {
    c.state = 'time-wait';
    c.deadline = this.host.now() + TIME_WAIT;
  }

  // ---- from outside ----------------------------------------------------------------------------------------------

  /** @param guestAddress where connections from outside go; undefined: no guest listens to this network */
  receive(message: StreamMessage, guestAddress: number | undefined): void {
    const c = this.state.connections.find(({ id, state }) => id === message.id && state !== 'time-wait');
    if (message.kind === 'accept') {
      if (!c) this.connect(message, guestAddress);
      return;
    }
    if (!c) {
      // The guest has given it up meanwhile.
      if (message.kind === 'data' || message.kind === 'opened') this.host.send({ kind: 'reset', id: message.id });
      return;
    }
    switch (message.kind) {
      case 'opened':
        if (c.state !== 'opening') return;
        c.credit = message.credit;
        c.state = 'syn-received';
        this.synAck(c);
        return;
      case 'data':
        if (c.outsideShut || c.buffer.length + c.freed + message.data.length > STREAM_WINDOW) this.abort(c);
        else {
          append(c.buffer, message.data);
          this.pump(c);
        }
        return;
      case 'credit':
        c.credit += message.count;
        this.pump(c);
        return;
      case 'shut':
        c.outsideShut = true;
        this.pump(c);
        return;
      case 'refused':
      case 'reset':
        this.state.refused += c.state === 'opening' ? 1 : 0;
        this.resetGuest(c);
        this.forget(c);
    }
  }

  private connect({ id, port, credit }: { id: number; port: number; credit: number }, guest: number | undefined): void {
    const { state, host } = this;
    if (guest === undefined || port < 1 || port > LAST_PORT || !this.makeRoom()) {
      host.send({ kind: 'refused', id });
      return;
    }
    const ends = { guestAddress: guest, guestPort: port, hostAddress: GATEWAY, hostPort: state.nextPort };
    do {
      ends.hostPort = state.nextPort;
      state.nextPort = state.nextPort === LAST_PORT ? FIRST_EPHEMERAL_PORT : state.nextPort + 1;
    } while (this.find(ends));
    const c = newConnection(ends, id, 'syn-sent', host.now());
    c.credit = credit;
    c.unanswered = true;
    state.connections.push(c);
    this.syn(c, SYN);
  }

  /** Nobody outside knows of any stream any more. */
  linkLost(): void {
    for (const c of this.state.connections) if (c.state !== 'time-wait') this.resetGuest(c);
    this.state.connections = [];
  }

  /** The guest's driver has started anew: all that was is gone. */
  guestLost(): void {
    for (const c of [...this.state.connections]) this.end(c, c.unanswered ? 'refused' : 'reset');
  }

  // ---- to the guest ----------------------------------------------------------------------------------------------

  /** Sends what there is room for now. */
  pumpAll(): void {
    for (const c of [...this.state.connections]) if (this.host.room()) this.pump(c);
  }

  private establish(c: TcpConnection): void {
    c.state = 'established';
    c.deadline = undefined;
    c.retries = 0;
    this.state.opened++;
    if (c.unanswered) this.host.send({ kind: 'opened', id: c.id, credit: STREAM_WINDOW });
    c.unanswered = false;
  }

  private synAck(c: TcpConnection): void {
    this.syn(c, SYN | ACK);
  }

  private syn(c: TcpConnection, flags: number): void {
    const { credit, sndUna: seq } = c;
    c.sndNxt = c.sndMax = seqAdd(seq, 1);
    const window = Math.min(credit, 0xffff);
    // RFC 7323, section 2.2: a SYN, ACK has the option only if the SYN had.
    const scale = flags & ACK && c.rcvScale === 0 ? undefined : RECEIVE_SCALE;
    c.rcvEdge = seqAdd(c.rcvNxt, window);
    const ack = flags & ACK ? c.rcvNxt : 0;
    this.out(c, { ...ports(c), seq, ack, flags, window, data: NOTHING, mss: MSS, scale });
    c.deadline ??= this.host.now() + TIMEOUT;
  }

  /** Data, FIN and acknowledgement, as far as window and room go; then the timer. */
  private pump(c: TcpConnection): void {
    const { host } = this;
    this.updateWindow(c);
    while (sends(c) && host.room()) {
      const offset = seqDiff(c.sndNxt, c.bufferSeq);
      const unsent = c.buffer.length - offset;
      if (unsent < 0) break;
      if (unsent === 0) {
        if (!c.outsideShut) break;
        this.transmit(c, FIN | ACK, NOTHING);
        if (c.state === 'established') c.state = 'fin-wait-1';
        if (c.state === 'close-wait') c.state = 'last-ack';
        break;
      }
      const inFlight = seqDiff(c.sndNxt, c.sndUna);
      const most = host.large() ? Math.max(LARGE_SEGMENTS * c.mss, MSS) : c.mss;
      const length = Math.min(unsent, c.sndWnd - inFlight, most, LARGE_SEGMENTS * MSS);
      if (length <= 0) break;
      // Section 3.8.6.2.1: no small segments while a larger one can be hoped for.
      if (length < unsent && length < c.mss && inFlight > 0) break;
      this.transmit(c, length === unsent ? ACK | PSH : ACK, peek(c.buffer, offset, length));
    }
    if (c.ackDue) this.transmit(c, ACK, NOTHING);
    this.arm(c);
  }

  /** A window that has grown is worth telling: section 3.8.6.2.2. */
  private updateWindow(c: TcpConnection): void {
    if (!this.receives(c) || c.state === 'syn-received') return;
    const gain = seqDiff(seqAdd(c.rcvNxt, announced(c) << c.rcvScale), c.rcvEdge);
    const left = seqDiff(c.rcvEdge, c.rcvNxt);
    if (gain >= STREAM_WINDOW / 4 || (left < MSS && gain >= MSS)) c.ackDue = true;
  }

  private transmit(c: TcpConnection, flags: number, data: Uint8Array): void {
    const seq = c.sndNxt;
    const window = this.receives(c) ? announced(c) : 0;
    const edge = seqAdd(c.rcvNxt, window << c.rcvScale);
    if (seqDiff(edge, c.rcvEdge) > 0) c.rcvEdge = edge;
    c.ackDue = false;
    c.sndNxt = seqAdd(seq, data.length + (flags & FIN ? 1 : 0));
    if (seqDiff(c.sndNxt, c.sndMax) > 0) c.sndMax = c.sndNxt;
    this.out(c, { ...ports(c), seq, ack: c.rcvNxt, flags, window, data });
  }

  /** An acknowledgement that says where both sides are. */
  private challenge(c: TcpConnection): void {
    c.ackDue = true;
    this.pump(c);
  }

  private plain(ends: TcpEnds, flags: number, seq: number, ack: number): void {
    this.out(ends, { ...ports(ends), seq, ack, flags, window: 0, data: NOTHING });
  }

  private out(ends: TcpEnds, segment: TcpSegment): void {
    this.host.segment(ends, segment, (ends as Partial<TcpConnection>).mss ?? MSS);
  }

  private resetGuest(c: TcpConnection): void {
    // Its SYN has not been acknowledged: a reset that does is the answer to it.
    if (c.state === 'opening') this.plain(c, RST | ACK, 0, c.rcvNxt);
    else this.plain(c, RST | ACK, c.sndMax, c.rcvNxt);
  }

  private abort(c: TcpConnection): void {
    this.resetGuest(c);
    this.end(c, c.unanswered ? 'refused' : 'reset');
  }

  /** Forgets a connection and tells the outside, which may know of it. */
  private end(c: TcpConnection, kind: 'refused' | 'reset'): void {
    if (c.state !== 'time-wait') this.host.send({ kind: c.unanswered ? 'refused' : kind, id: c.id });
    this.forget(c);
  }

  private forget(c: TcpConnection): void {
    c.deadline = undefined;
    this.state.connections = this.state.connections.filter((each) => each !== c);
  }

  /** Whether there may be another connection; one that only waits for its time to be over makes room. */
  private makeRoom(): boolean {
    const { connections } = this.state;
    if (connections.length < MAX_STREAMS) return true;
    const oldest = connections.find(({ state }) => state === 'time-wait');
    if (oldest) this.forget(oldest);
    return oldest !== undefined;
  }

  // ---- time ------------------------------------------------------------------------------------------------------

  /** When alarm() is wanted; Infinity: not. */
  get nextAlarm(): number {
    return this.state.connections.reduce((least, { deadline = Infinity }) => Math.min(least, deadline), Infinity);
  }

  alarm(): void {
    const now = this.host.now();
    for (const c of [...this.state.connections]) if ((c.deadline ?? Infinity) <= now) this.expired(c);
  }

  /** Waits for an acknowledgement, or for the window to open. */
  private arm(c: TcpConnection): void {
    if (c.state === 'time-wait' || !this.state.connections.includes(c)) return;
    const closed = c.sndWnd === 0 && c.buffer.length > 0;
    if (c.sndMax === c.sndUna && !closed) c.deadline = undefined;
    else c.deadline ??= this.host.now() + timeout(c);
  }

  private expired(c: TcpConnection): void {
    const { host } = this;
    if (c.state === 'time-wait') {
      this.forget(c);
      return;
    }
    if (!host.room()) {
      // The guest takes nothing: sending again would not help.
      c.deadline = host.now() + timeout(c);
      return;
    }
    const limit = c.state === 'syn-sent' || c.state === 'syn-received' ? MAX_SYN_RETRIES : MAX_RETRIES;
    if (++c.retries > limit) {
      this.abort(c);
      return;
    }
    c.deadline = host.now() + timeout(c);
    if (c.state === 'syn-sent') this.syn(c, SYN);
    else if (c.state === 'syn-received') this.synAck(c);
    else if (c.sndWnd === 0 && c.buffer.length > 0) {
      // Section 3.8.6.1, "Zero-Window Probing".
      c.probing = true;
      c.sndNxt = c.sndUna;
      this.transmit(c, ACK, peek(c.buffer, 0, 1));
    } else {
      c.sndNxt = c.sndUna;
      this.pump(c);
    }
  }
}

/** Data or a FIN may be sent, or sent again. */
function sends({ state }: TcpConnection): boolean {
  return !['opening', 'syn-sent', 'syn-received', 'fin-wait-2', 'time-wait'].includes(state);
}

function timeout({ retries }: TcpConnection): number {
  return Math.min(TIMEOUT * 2 ** retries, MAX_TIMEOUT);
}

/** The window field. */
function announced({ credit, rcvScale }: TcpConnection): number {
  return Math.min(credit >> rcvScale, 0xffff);
}

function segmentLength({ data, flags }: TcpSegment): number {
  return data.length + (flags & SYN ? 1 : 0) + (flags & FIN ? 1 : 0);
}

function ports({ guestPort, hostPort }: TcpEnds): Pick<TcpSegment, 'sourcePort' | 'destinationPort'> {
  return { sourcePort: hostPort, destinationPort: guestPort };
}
