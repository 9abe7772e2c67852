/** A guest's side of the user-mode network, by hand: frames as RFC 791, 793 and 826 lay them out, with checksums of its own. */
import { UserNetwork, type OutgoingFrame } from '../../../emulator-core/net/userNetwork';
import { decodeStream, encodeStream, type StreamMessage } from '../../../emulator-core/net/streams';

export const GUEST_MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
export const GATEWAY_MAC = Uint8Array.of(0x52, 0x55, 10, 0, 2, 2);
export const GUEST = [10, 0, 2, 15];
export const GATEWAY = [10, 0, 2, 2];
export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;

export const u16 = (value: number): number[] => [(value >> 8) & 0xff, value & 0xff];
export const u32 = (value: number): number[] => [...u16(value >>> 16), ...u16(value & 0xffff)];

/** The checksum as RFC 1071 words it: one's complement of the one's complement sum. */
export function sum16(bytes: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += (bytes[i] << 8) + (bytes[i + 1] ?? 0);
    if (sum > 0xffff) sum = (sum & 0xffff) + 1;
  }
  return 0xffff - sum;
}

export function frame(type: number, payload: readonly number[], to: ArrayLike<number> = GATEWAY_MAC): Uint8Array {
  return Uint8Array.from([...Array.from(to), ...GUEST_MAC, ...u16(type), ...payload]);
}

export function ip(protocol: number, to: readonly number[], payload: readonly number[], from = GUEST): number[] {
  const header = [0x45, 0, ...u16(20 + payload.length), 0, 1, 0, 0, 64, protocol, 0, 0, ...from, ...to];
  header.splice(10, 2, ...u16(sum16(header)));
  return [...header, ...payload];
}

function withSum(
  protocol: number,
  from: readonly number[],
  to: readonly number[],
  payload: number[],
  at: number,
): number[] {
  const pseudo = [...from, ...to, 0, protocol, ...u16(payload.length)];
  payload.splice(at, 2, ...u16(sum16([...pseudo, ...payload])));
  return payload;
}

export function udp(to: readonly number[], ports: [number, number], data: readonly number[], from = GUEST): number[] {
  const datagram = [...u16(ports[0]), ...u16(ports[1]), ...u16(8 + data.length), 0, 0, ...data];
  return ip(17, to, withSum(17, from, to, datagram, 6), from);
}

export interface Tcp {
  seq: number;
  ack?: number;
  flags: number;
  window?: number;
  options?: number[];
  data?: ArrayLike<number>;
  ports: [number, number];
}

export function tcp(
  to: readonly number[],
  { seq, ack = 0, flags, window = 0xffff, options = [], data = [], ports }: Tcp,
): number[] {
  const header = [...u16(ports[0]), ...u16(ports[1]), ...u32(seq), ...u32(ack)];
  const segment = [...header, ((20 + options.length) / 4) << 4, flags, ...u16(window), 0, 0, 0, 0, ...options];
  return ip(6, to, withSum(6, GUEST, to, [...segment, ...Array.from(data)], 16));
}

/** A segment to the guest, taken apart; its checksums have been looked at. */
export interface Segment {
  ports: [number, number];
  seq: number;
  ack: number;
  flags: number;
  window: number;
  options: number[];
  data: Uint8Array;
}

export function segment(bytes: Uint8Array): Segment {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const packet = Array.from(bytes.subarray(14, 14 + view.getUint16(16)));
  if (sum16(packet.slice(0, 20)) !== 0) throw new Error('IPv4 checksum');
  const body = packet.slice(20);
  if (sum16([...packet.slice(12, 20), 0, 6, ...u16(body.length), ...body]) !== 0) throw new Error('TCP checksum');
  const header = (body[12] >> 4) * 4;
  const at = 34;
  return {
    ports: [view.getUint16(at), view.getUint16(at + 2)],
    seq: view.getUint32(at + 4),
    ack: view.getUint32(at + 8),
    flags: bytes[at + 13],
    window: view.getUint16(at + 14),
    options: body.slice(20, header),
    data: Uint8Array.from(body.slice(header)),
  };
}

/** A network with port 80, and everything that it says. */
export class Rig {
  time = 0;
  room = true;
  frames: OutgoingFrame[] = [];
  said: StreamMessage[] = [];
  readonly network: UserNetwork;

  constructor(ports: readonly number[] = [80]) {
    this.network = new UserNetwork(
      { mac: GUEST_MAC, ports },
      {
        now: () => this.time,
        frame: (frame) => this.frames.push(frame),
        room: () => this.room && this.frames.length < 32,
        offload: () => ({ checksum: false, large: false }),
        send: (message) => this.said.push(decodeStream(message)),
      },
    );
  }

  /** Frames since the last look. */
  taken(): Uint8Array[] {
    return this.frames.splice(0).map(({ bytes }) => bytes);
  }
  messages(): StreamMessage[] {
    return this.said.splice(0);
  }
  /** An IPv4 packet from the guest; what comes back. */
  send(packet: number[], to?: ArrayLike<number>): Uint8Array[] {
    this.network.input(frame(0x0800, packet, to));
    return this.taken();
  }
  tcp(segmentOut: Tcp, to = GATEWAY): Segment[] {
    return this.send(tcp(to, segmentOut)).map(segment);
  }
  outside(message: StreamMessage): Segment[] {
    this.network.receive(encodeStream(message), true);
    return this.taken().map(segment);
  }
  /** Lets virtual time pass to the next alarm. */
  alarm(): Segment[] {
    const at = this.network.tcp.nextAlarm;
    if (at === Infinity) throw new Error('no alarm is set');
    this.time = Math.max(this.time, at);
    this.network.tcp.alarm();
    return this.taken().map(segment);
  }
  /** How many packets were dropped for a reason. */
  dropped(reason: string): number {
    return this.network.save().dropped.find((each) => each.reason === reason)?.count ?? 0;
  }
  get states(): string[] {
    return this.network.tcp.state.connections.map(({ state }) => state);
  }
}
