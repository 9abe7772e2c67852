/** Address Resolution Protocol: RFC 826, for IPv4 over Ethernet. */
import { viewOf } from './bytes';

export const ArpOperation = { request: 1, reply: 2 } as const;

export interface ArpPacket {
  operation: number;
  senderMac: Uint8Array;
  senderAddress: number;
  targetMac: Uint8Array;
  targetAddress: number;
}

const LENGTH = 28;
const HARDWARE_ETHERNET = 1;
const PROTOCOL_IPV4 = 0x0800;

/** undefined for other protocols and for what is cut short. */
export function parseArp(bytes: Uint8Array): ArpPacket | undefined {
  if (bytes.length < LENGTH) return undefined;
  const view = viewOf(bytes);
  if (view.getUint16(0) !== HARDWARE_ETHERNET || view.getUint16(2) !== PROTOCOL_IPV4) return undefined;
  if (view.getUint8(4) !== 6 || view.getUint8(5) !== 4) return undefined;
  return {
    operation: view.getUint16(6),
    senderMac: bytes.subarray(8, 14),
    senderAddress: view.getUint32(14),
    targetMac: bytes.subarray(18, 24),
    targetAddress: view.getUint32(24),
  };
}

export function arp({ operation, senderMac, senderAddress, targetMac, targetAddress }: ArpPacket): Uint8Array {
  const bytes = new Uint8Array(LENGTH);
  const view = viewOf(bytes);
  view.setUint16(0, HARDWARE_ETHERNET);
  view.setUint16(2, PROTOCOL_IPV4);
  view.setUint8(4, 6);
  view.setUint8(5, 4);
  view.setUint16(6, operation);
  bytes.set(senderMac, 8);
  view.setUint32(14, senderAddress);
  bytes.set(targetMac, 18);
  view.setUint32(24, targetAddress);
  return bytes;
}
