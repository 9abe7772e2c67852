/** Ethernet II frames (IEEE 802.3, "MAC frame"; RFC 894), without the frame check sequence. */
import { viewOf } from './bytes';

export const EtherType = { ipv4: 0x0800, arp: 0x0806 } as const;
export const ETHERNET_HEADER = 14;
export const BROADCAST = new Uint8Array(6).fill(0xff);

export interface EthernetFrame {
  destination: Uint8Array;
  source: Uint8Array;
  type: number;
  payload: Uint8Array;
}

/** undefined for what is shorter than a header. The parts are views into `bytes`. */
export function parseEthernet(bytes: Uint8Array): EthernetFrame | undefined {
  if (bytes.length < ETHERNET_HEADER) return undefined;
  return {
    destination: bytes.subarray(0, 6),
    source: bytes.subarray(6, 12),
    type: viewOf(bytes).getUint16(12),
    payload: bytes.subarray(ETHERNET_HEADER),
  };
}

export function ethernet({ destination, source, type, payload }: EthernetFrame): Uint8Array {
  const frame = new Uint8Array(ETHERNET_HEADER + payload.length);
  frame.set(destination);
  frame.set(source, 6);
  viewOf(frame).setUint16(12, type);
  frame.set(payload, ETHERNET_HEADER);
  return frame;
}
