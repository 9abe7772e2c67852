/** Segments of the Transmission Control Protocol: RFC 9293, section 3.1, "Header Format"; RFC 7323 for the window scale. */
import { viewOf } from './bytes';
import { checksum, onesSum, pseudoHeaderSum } from './checksum';
import { Protocol, type Ipv4Packet } from './ipv4';

export const TcpFlag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;
export const TCP_HEADER = 20;
/** Offset of the checksum in the header. */
export const TCP_CHECKSUM = 16;
const Option = { end: 0, nop: 1, mss: 2, windowScale: 3 } as const;
/** RFC 7323, section 2.3: larger shifts count as this one. */
const MAX_SCALE = 14;

export interface TcpSegment {
  sourcePort: number;
  destinationPort: number;
  seq: number;
  ack: number;
  flags: number;
  /** As it stands in the header: not scaled. */
  window: number;
  data: Uint8Array;
  mss?: number;
  scale?: number;
}

/**
 * The segment in a packet, or why it is dropped.
 * @param unsummed the sender left the checksum to its network interface
 */
export function parseTcp({ source, destination, payload }: Ipv4Packet, unsummed: boolean): TcpSegment | string {
  if (payload.length < TCP_HEADER) return 'TCP: cut short';
  const view = viewOf(payload);
  const header = (payload[12] >> 4) * 4;
  if (header < TCP_HEADER || header > payload.length) return 'TCP: bad data offset';
  if (!unsummed && checksum(payload, pseudoHeaderSum(source, destination, Protocol.tcp, payload.length)) !== 0) {
    return 'TCP: bad checksum';
  }
  return {
    sourcePort: view.getUint16(0),
    destinationPort: view.getUint16(2),
    seq: view.getUint32(4),
    ack: view.getUint32(8),
    flags: payload[13],
    window: view.getUint16(14),
    data: payload.subarray(header),
    ...parseOptions(payload.subarray(TCP_HEADER, header)),
  };
}

function parseOptions(bytes: Uint8Array): Pick<TcpSegment, 'mss' | 'scale'> {
  const found: Pick<TcpSegment, 'mss' | 'scale'> = {};
  for (let at = 0; at < bytes.length && bytes[at] !== Option.end;) {
    if (bytes[at] === Option.nop) {
      at++;
      continue;
    }
    const length = bytes[at + 1];
    if (!(length >= 2 && at + length <= bytes.length)) break;
    if (bytes[at] === Option.mss && length === 4) found.mss = (bytes[at + 2] << 8) | bytes[at + 3];
    if (bytes[at] === Option.windowScale && length === 3) found.scale = Math.min(bytes[at + 2], MAX_SCALE);
    at += length;
  }
  return found;
}

/** @param partial the checksum field gets the pseudo header's sum only: the receiver takes the rest as right */
export function buildTcp(source: number, destination: number, segment: TcpSegment, partial: boolean): Ipv4Packet {
  const options: number[] = [];
  if (segment.mss !== undefined) options.push(Option.mss, 4, segment.mss >> 8, segment.mss & 0xff);
  if (segment.scale !== undefined) options.push(Option.nop, Option.windowScale, 3, segment.scale);
  const header = TCP_HEADER + options.length;
  const payload = new Uint8Array(header + segment.data.length);
  const view = viewOf(payload);
  view.setUint16(0, segment.sourcePort);
  view.setUint16(2, segment.destinationPort);
  view.setUint32(4, segment.seq);
  view.setUint32(8, segment.ack);
  view.setUint8(12, (header / 4) << 4);
  view.setUint8(13, segment.flags);
  view.setUint16(14, segment.window);
  payload.set(options, TCP_HEADER);
  payload.set(segment.data, header);
  const pseudo = pseudoHeaderSum(source, destination, Protocol.tcp, payload.length);
  view.setUint16(TCP_CHECKSUM, partial ? onesSum(new Uint8Array(0), pseudo) : checksum(payload, pseudo));
  return { source, destination, protocol: Protocol.tcp, payload };
}

/** Sequence numbers are modulo 2^32: RFC 9293, section 3.4. */
export function seqAdd(seq: number, count: number): number {
  return (seq + count) >>> 0;
}

/** How far `a` is ahead of `b`; negative when it is behind. */
export function seqDiff(a: number, b: number): number {
  return (a - b) | 0;
}
