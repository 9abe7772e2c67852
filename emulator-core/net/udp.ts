/** User Datagram Protocol: RFC 768. */
import { viewOf } from './bytes';
import { checksum, pseudoHeaderSum } from './checksum';
import { Protocol, type Ipv4Packet } from './ipv4';

const HEADER = 8;

export interface Datagram {
  sourcePort: number;
  destinationPort: number;
  data: Uint8Array;
}

/**
 * The datagram in a packet, or why it is dropped.
 * @param unsummed the sender left the checksum to its network interface
 */
export function parseUdp({ source, destination, payload }: Ipv4Packet, unsummed: boolean): Datagram | string {
  if (payload.length < HEADER) return 'UDP: cut short';
  const view = viewOf(payload);
  const length = view.getUint16(4);
  if (length < HEADER || length > payload.length) return 'UDP: bad length';
  const datagram = payload.subarray(0, length);
  // A checksum of zero means that there is none.
  const summed = view.getUint16(6) !== 0 && !unsummed;
  if (summed && checksum(datagram, pseudoHeaderSum(source, destination, Protocol.udp, length)) !== 0) {
    return 'UDP: bad checksum';
  }
  return { sourcePort: view.getUint16(0), destinationPort: view.getUint16(2), data: datagram.subarray(HEADER) };
}

export function buildUdp(
  source: number,
  destination: number,
  { sourcePort, destinationPort, data }: Datagram,
): Ipv4Packet {
  const payload = new Uint8Array(HEADER + data.length);
  const view = viewOf(payload);
  view.setUint16(0, sourcePort);
  view.setUint16(2, destinationPort);
  view.setUint16(4, payload.length);
  payload.set(data, HEADER);
  const sum = checksum(payload, pseudoHeaderSum(source, destination, Protocol.udp, payload.length));
  view.setUint16(6, sum || 0xffff);
  return { source, destination, protocol: Protocol.udp, payload };
}
