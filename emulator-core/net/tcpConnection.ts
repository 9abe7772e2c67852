/** What is known of a TCP connection with the guest: RFC 9293, section 3.3.1, "Key Connection Variables", and its stream outside. */
import { byteQueue, type ByteQueue } from './byteQueue';
import { STREAM_WINDOW } from './streams';
import { seqAdd } from './tcpSegment';

/** The states of RFC 9293, section 3.3.2, and 'opening': the guest's SYN waits for the answer from outside. */
export type TcpState =
  | 'opening'
  | 'syn-sent'
  | 'syn-received'
  | 'established'
  | 'fin-wait-1'
  | 'fin-wait-2'
  | 'close-wait'
  | 'closing'
  | 'last-ack'
  | 'time-wait';

/** Who the two ends are. */
export interface TcpEnds {
  guestAddress: number;
  guestPort: number;
  hostAddress: number;
  hostPort: number;
}

export interface TcpConnection extends TcpEnds {
  /** Of the stream outside. */
  id: number;
  state: TcpState;
  /** It was opened from outside, which has not heard yet whether it is there. */
  unanswered: boolean;

  // Towards the guest: SND.UNA, SND.NXT, the highest SND.NXT so far, SND.WND, SND.WL1, SND.WL2.
  sndUna: number;
  sndNxt: number;
  sndMax: number;
  sndWnd: number;
  sndWl1: number;
  sndWl2: number;
  /** Shift of the windows that the guest announces. */
  sndScale: number;
  /** The largest segment that the guest takes. */
  mss: number;
  /** Data that the guest has not acknowledged, and the sequence number of its first byte. */
  buffer: ByteQueue;
  bufferSeq: number;
  /** No more data will come from outside. */
  outsideShut: boolean;
  /** Bytes acknowledged that the outside has not been told of. */
  freed: number;
  duplicateAcks: number;
  /** A byte was sent into a closed window. */
  probing: boolean;

  // From the guest: RCV.NXT, the right edge of the window as announced.
  rcvNxt: number;
  rcvEdge: number;
  /** Shift of the windows that the guest is told. */
  rcvScale: number;
  /** Bytes that the outside takes: RCV.WND. */
  credit: number;
  ackDue: boolean;

  /** Virtual time at which something is to be sent again, or forgotten; undefined: never. */
  deadline: number | undefined;
  retries: number;

  sent: number;
  received: number;
}

/** RFC 9293, section 3.7.1: the maximum segment size of whoever names none. */
const DEFAULT_MSS = 536;
const MIN_MSS = 64;
/** So that the window of a stream fits into 16 bits. */
export const RECEIVE_SCALE = 3;

/** @param now virtual time: RFC 9293, section 3.4.1, takes the initial sequence number from a clock of 4 microseconds */
export function newConnection(ends: TcpEnds, id: number, state: TcpState, now: number): TcpConnection {
  const iss = (Math.floor(now / 4000) + Math.imul(id, 0x9e3779b1)) >>> 0;
  return {
    ...ends,
    ...{ id, state, unanswered: false },
    ...{ sndUna: iss, sndNxt: iss, sndMax: iss, sndWnd: 0, sndWl1: 0, sndWl2: 0, sndScale: 0, mss: DEFAULT_MSS },
    ...{
      buffer: byteQueue(),
      bufferSeq: seqAdd(iss, 1),
      outsideShut: false,
      freed: 0,
      duplicateAcks: 0,
      probing: false,
    },
    ...{ rcvNxt: 0, rcvEdge: 0, rcvScale: 0, credit: STREAM_WINDOW, ackDue: false },
    ...{ deadline: undefined, retries: 0, sent: 0, received: 0 },
  };
}

/** Takes what the guest's SYN says. @param ours the largest segment here */
export function takeSyn(
  c: TcpConnection,
  syn: { seq: number; window: number; mss?: number; scale?: number },
  ours: number,
): void {
  c.rcvNxt = c.rcvEdge = seqAdd(syn.seq, 1);
  c.mss = Math.min(Math.max(syn.mss ?? DEFAULT_MSS, MIN_MSS), ours);
  c.sndWnd = syn.window;
  c.sndWl1 = syn.seq;
  if (syn.scale !== undefined) {
    c.sndScale = syn.scale;
    c.rcvScale = RECEIVE_SCALE;
  }
}
