/** Internet Protocol version 4: RFC 791. Fragments are not put together: a guest with an MTU of 1500 sends none to these services. */
import { viewOf } from './bytes';
import { checksum } from './checksum';

export const Protocol = { icmp: 1, tcp: 6, udp: 17 } as const;
export const IPV4_HEADER = 20;
const VERSION = 4;
const DO_NOT_FRAGMENT = 0x4000;
/** More fragments, and the offset. */
const FRAGMENT = 0x3fff;
const TIME_TO_LIVE = 64;

export interface Ipv4Packet {
  source: number;
  destination: number;
  protocol: number;
  payload: Uint8Array;
}

/** A packet that has come: with its own bytes, for ICMP to quote. */
export interface ReceivedIpv4 extends Ipv4Packet {
  bytes: Uint8Array;
  headerLength: number;
}

/** The packet, or why it is dropped. What lies behind its total length is Ethernet's padding. */
export function parseIpv4(bytes: Uint8Array): ReceivedIpv4 | string {
  if (bytes.length < IPV4_HEADER) return 'IPv4: cut short';
  const view = viewOf(bytes);
  const headerLength = (bytes[0] & 15) * 4;
  const total = view.getUint16(2);
  if (bytes[0] >> 4 !== VERSION || headerLength < IPV4_HEADER) return 'IPv4: bad header';
  if (total < headerLength || total > bytes.length) return 'IPv4: bad length';
  if (checksum(bytes.subarray(0, headerLength)) !== 0) return 'IPv4: bad checksum';
  if (view.getUint16(6) & FRAGMENT) return 'IPv4: fragment';
  return {
    source: view.getUint32(12),
    destination: view.getUint32(16),
    protocol: bytes[9],
    payload: bytes.subarray(headerLength, total),
    bytes: bytes.subarray(0, total),
    headerLength,
  };
}

/** A packet without options. `payload` is of at most 65515 bytes. */
export function buildIpv4({ source, destination, protocol, payload }: Ipv4Packet): Uint8Array {
  const bytes = new Uint8Array(IPV4_HEADER + payload.length);
  const view = viewOf(bytes);
  view.setUint8(0, (VERSION << 4) | (IPV4_HEADER / 4));
  view.setUint16(2, bytes.length);
  view.setUint16(6, DO_NOT_FRAGMENT);
  view.setUint8(8, TIME_TO_LIVE);
  view.setUint8(9, protocol);
  view.setUint32(12, source);
  view.setUint32(16, destination);
  view.setUint16(10, checksum(bytes.subarray(0, IPV4_HEADER)));
  bytes.set(payload, IPV4_HEADER);
  return bytes;
}
