/** struct virtio_vsock_hdr and what follows it: VIRTIO 1.2, "Socket Device", "Device Operation". Numbers are little-endian. */

export const VsockOp = {
  ...{ request: 1, response: 2, rst: 3, shutdown: 4, rw: 5, creditUpdate: 6, creditRequest: 7 },
} as const;
export const VsockType = { stream: 1 } as const;
/** What a peer will not do any more. */
export const VsockShutdown = { receive: 1, send: 2 } as const;
export const VSOCK_HEADER = 44;

export interface VsockPacket {
  /** The upper 32 bits of CIDs are reserved and zero. */
  sourceCid: number;
  destinationCid: number;
  sourcePort: number;
  destinationPort: number;
  type: number;
  op: number;
  flags: number;
  /** Of the sender: its receive buffer's size, and how much it has taken out of that, modulo 2^32. */
  bufferSize: number;
  forwarded: number;
  data: Uint8Array;
}

/** undefined for what is cut short or has reserved bits set. Data is a view into `bytes`. */
export function parsePacket(bytes: Uint8Array): VsockPacket | undefined {
  if (bytes.length < VSOCK_HEADER) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const length = view.getUint32(24, true);
  if (length > bytes.length - VSOCK_HEADER || view.getUint32(4, true) || view.getUint32(12, true)) return undefined;
  return {
    sourceCid: view.getUint32(0, true),
    destinationCid: view.getUint32(8, true),
    sourcePort: view.getUint32(16, true),
    destinationPort: view.getUint32(20, true),
    type: view.getUint16(28, true),
    op: view.getUint16(30, true),
    flags: view.getUint32(32, true),
    bufferSize: view.getUint32(36, true),
    forwarded: view.getUint32(40, true),
    data: bytes.subarray(VSOCK_HEADER, VSOCK_HEADER + length),
  };
}

export function buildPacket(packet: VsockPacket): Uint8Array {
  const bytes = new Uint8Array(VSOCK_HEADER + packet.data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, packet.sourceCid, true);
  view.setUint32(8, packet.destinationCid, true);
  view.setUint32(16, packet.sourcePort, true);
  view.setUint32(20, packet.destinationPort, true);
  view.setUint32(24, packet.data.length, true);
  view.setUint16(28, packet.type, true);
  view.setUint16(30, packet.op, true);
  view.setUint32(32, packet.flags, true);
  view.setUint32(36, packet.bufferSize, true);
  view.setUint32(40, packet.forwarded, true);
  bytes.set(packet.data, VSOCK_HEADER);
  return bytes;
}
