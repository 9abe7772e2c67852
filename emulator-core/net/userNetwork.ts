/**
 * A network in user mode, as the guest sees it: a gateway that answers ping, a DHCP and a name server, and on the gateway those TCP
 * ports that the launch names. Nothing else is reachable: TCP is reset, UDP and ICMP are answered with "unreachable". Deterministic;
 * everything it knows is plain data.
 */
import type { Field } from '../fields';
import {
  FIRST_LEASE,
  GATEWAY,
  GATEWAY_MAC,
  isGuestAddress,
  LIMITED_BROADCAST,
  NAME_SERVER,
  NETWORK_BROADCAST,
} from './addresses';
import { arp, ArpOperation, parseArp } from './arp';
import { ipv4Text, macText } from './bytes';
import { DHCP_CLIENT_PORT, DHCP_SERVER_PORT, serveDhcp, type DhcpState } from './dhcp';
import { answerDns, DNS_PORT } from './dns';
import { BROADCAST, ethernet, ETHERNET_HEADER, EtherType, parseEthernet } from './ethernet';
import { echoReply, IcmpType, Unreachable, unreachable } from './icmp';
import { buildIpv4, IPV4_HEADER, parseIpv4, Protocol, type Ipv4Packet, type ReceivedIpv4 } from './ipv4';
import { decodeStream, encodeStream } from './streams';
import { initialTcp, Tcp, type TcpHost, type TcpState } from './tcp';
import { buildTcp, parseTcp, TCP_HEADER } from './tcpSegment';
import { buildUdp, parseUdp, type Datagram } from './udp';

/** A frame for the guest. */
export interface OutgoingFrame {
  bytes: Uint8Array;
  /** Offset of a TCP header whose checksum covers the pseudo header only; 0: the checksums are complete. */
  checksumStart: number;
  /** Of TCP: the guest's interface takes it apart into segments of so many bytes; 0: it is none too large. */
  segmentSize: number;
  /** Length of all headers. */
  headerLength: number;
}

export interface UserNetworkHost {
  /** Virtual time in ns. */
  now(): number;
  /** Takes a frame for the guest. */
  frame(frame: OutgoingFrame): void;
  /** Whether there is room for another frame with bulk data. */
  room(): boolean;
  /** The guest takes TCP with incomplete checksums, and in large pieces. */
  offload(): { checksum: boolean; large: boolean };
  /** To the outside: a message of streams.ts. */
  send(message: Uint8Array): void;
}

export interface UserNetworkState {
  /** Where frames for the guest go: the source of its newest one. */
  mac: Uint8Array;
  /** Where connections from outside go: the source of its newest packet. */
  address: number;
  dhcp: DhcpState;
  tcp: TcpState;
  /** What was dropped: why, and how often. */
  dropped: { reason: string; count: number }[];
}

export interface UserNetworkOptions {
  /** The guest's interface. */
  mac: Uint8Array;
  /** TCP ports of the gateway's that the guest may reach. */
  ports: readonly number[];
}

export class UserNetwork {
  readonly tcp: Tcp;
  private state: UserNetworkState;
  private readonly ports: ReadonlySet<number>;

  constructor(
    private readonly options: UserNetworkOptions,
    private readonly host: UserNetworkHost,
  ) {
    this.ports = new Set(options.ports);
    this.state = this.initial();
    this.tcp = new Tcp(this.state.tcp, this.tcpHost());
  }

  private initial(): UserNetworkState {
    const { mac } = this.options;
    return { mac, address: FIRST_LEASE, dhcp: { leases: [] }, tcp: initialTcp(), dropped: [] };
  }

  private tcpHost(): TcpHost {
    const { host } = this;
    return {
      now: () => host.now(),
      allowed: (port) => this.ports.has(port),
      room: () => host.room(),
      large: () => host.offload().large,
      send: (message) => host.send(encodeStream(message)),
      segment: ({ hostAddress, guestAddress }, segment, mss) => {
        const partial = host.offload().checksum;
        const packet = buildTcp(hostAddress, guestAddress, segment, partial);
        const headers = ETHERNET_HEADER + IPV4_HEADER + packet.payload.length - segment.data.length;
        this.sendPacket(packet, this.state.mac, {
          checksumStart: partial ? ETHERNET_HEADER + IPV4_HEADER : 0,
          segmentSize: segment.data.length > mss ? mss : 0,
          headerLength: headers,
        });
      },
    };
  }

  // ---- from the guest --------------------------------------------------------------------------------------------

  /**
   * A frame from the guest.
   * @param checksumStart offset of a header whose checksum the guest has left to its interface; 0: of none
   */
  input(bytes: Uint8Array, checksumStart = 0): void {
    const reason = this.frame(bytes, checksumStart);
    if (reason === undefined) return;
    const { dropped } = this.state;
    const known = dropped.find((each) => each.reason === reason);
    if (known) known.count++;
    else dropped.push({ reason, count: 1 });
  }

  /** Why the frame is dropped, from a fixed list; undefined: it is not. */
  private frame(bytes: Uint8Array, checksumStart: number): string | undefined {
    const frame = parseEthernet(bytes);
    if (!frame) return 'Ethernet: cut short';
    const { destination, source, type, payload } = frame;
    const group = (destination[0] & 1) !== 0;
    if (source[0] & 1) return 'Ethernet: source is a group';
    if (!group && !same(destination, GATEWAY_MAC)) return 'Ethernet: for somebody else';
    if (!same(source, this.state.mac)) this.state.mac = source.slice();
    if (type === EtherType.arp) return this.arp(payload);
    if (type !== EtherType.ipv4) return 'Ethernet: other protocol';
    const packet = parseIpv4(payload);
    if (typeof packet === 'string') return packet;
    const unsummed = checksumStart !== 0 && checksumStart === ETHERNET_HEADER + packet.headerLength;
    if (isGuestAddress(packet.source)) this.state.address = packet.source;
    switch (packet.protocol) {
      case Protocol.udp:
        return this.udp(packet, unsummed);
      case Protocol.tcp:
        return group ? 'TCP: broadcast' : this.tcpPacket(packet, unsummed);
      case Protocol.icmp:
        return group ? 'ICMP: broadcast' : this.icmp(packet);
      default:
        return this.refuse(packet, Unreachable.protocol);
    }
  }

  private arp(bytes: Uint8Array): string | undefined {
    const request = parseArp(bytes);
    if (!request) return 'ARP: malformed';
    const { operation, senderMac, senderAddress, targetAddress } = request;
    if (isGuestAddress(senderAddress)) this.state.address = senderAddress;
    if (operation !== ArpOperation.request || !isService(targetAddress)) return undefined;
    const reply = arp({
      ...{ operation: ArpOperation.reply, senderMac: GATEWAY_MAC, senderAddress: targetAddress },
      ...{ targetMac: senderMac, targetAddress: senderAddress },
    });
    const frame = ethernet({ destination: senderMac, source: GATEWAY_MAC, type: EtherType.arp, payload: reply });
    this.host.frame(complete(frame));
    return undefined;
  }

  private icmp(packet: ReceivedIpv4): string | undefined {
    if (packet.payload[0] !== IcmpType.echo) return 'ICMP: other message';
    if (!isService(packet.destination)) return this.refuse(packet, Unreachable.net);
    const payload = echoReply(packet.payload);
    if (!payload) return 'ICMP: malformed';
    const { source, destination } = packet;
    this.sendPacket({ source: destination, destination: source, protocol: Protocol.icmp, payload }, this.state.mac);
    return undefined;
  }

  private udp(packet: ReceivedIpv4, unsummed: boolean): string | undefined {
    const datagram = parseUdp(packet, unsummed);
    if (typeof datagram === 'string') return datagram;
    const { destination, source } = packet;
    const { destinationPort, sourcePort, data } = datagram;
    const broadcast = destination === LIMITED_BROADCAST || destination === NETWORK_BROADCAST;
    if (destinationPort === DHCP_SERVER_PORT && (broadcast || destination === GATEWAY)) return this.dhcp(data);
    if (destinationPort === DNS_PORT && destination === NAME_SERVER) {
      const guests = this.state.dhcp.leases.filter(({ bound }) => bound);
      const answer = answerDns(data, guests.length > 0 ? guests : [{ name: 'guest', address: this.state.address }]);
      if (!answer) return 'DNS: malformed';
      const reply = { sourcePort: destinationPort, destinationPort: sourcePort, data: answer };
      this.sendUdp(destination, source, reply, this.state.mac);
      return undefined;
    }
    // Nobody answers what was sent to everybody.
    if (broadcast || destination >>> 28 === 14) return 'UDP: broadcast';
    return this.refuse(packet, Unreachable.port);
  }

  private dhcp(data: Uint8Array): string | undefined {
    const reply = serveDhcp(this.state.dhcp, data);
    if (!reply) return undefined;
    const { message, destination, mac = BROADCAST } = reply;
    const datagram = { sourcePort: DHCP_SERVER_PORT, destinationPort: DHCP_CLIENT_PORT, data: message };
    this.sendUdp(GATEWAY, destination, datagram, mac);
    return undefined;
  }

  private tcpPacket(packet: ReceivedIpv4, unsummed: boolean): string | undefined {
    const segment = parseTcp(packet, unsummed);
    if (typeof segment === 'string') return segment;
    const { source: guestAddress, destination: hostAddress } = packet;
    // From 0.0.0.0, or to a group: nobody could be answered.
    if (!isGuestAddress(guestAddress) || hostAddress >>> 28 >= 14) return 'TCP: bad address';
    const { sourcePort: guestPort, destinationPort: hostPort } = segment;
    this.tcp.input({ guestAddress, guestPort, hostAddress, hostPort }, segment);
    return undefined;
  }

  /** "Destination Unreachable", from where the packet was meant to go if that is here, else from the gateway. */
  private refuse(packet: ReceivedIpv4, code: number): string | undefined {
    const { source, destination } = packet;
    // RFC 1122, section 3.2.2: no errors about what came for, or from, everybody.
    if (!isGuestAddress(source) || destination === LIMITED_BROADCAST || destination === NETWORK_BROADCAST) {
      return 'IPv4: bad address';
    }
    const payload = unreachable(code, packet);
    const from = code === Unreachable.net || !isService(destination) ? GATEWAY : destination;
    this.sendPacket({ source: from, destination: source, protocol: Protocol.icmp, payload }, this.state.mac);
    return undefined;
  }

  // ---- to the guest ----------------------------------------------------------------------------------------------

  private sendUdp(source: number, destination: number, datagram: Datagram, mac: Uint8Array): void {
    this.sendPacket(buildUdp(source, destination, datagram), mac);
  }

  private sendPacket(packet: Ipv4Packet, destination: Uint8Array, rest?: Omit<OutgoingFrame, 'bytes'>): void {
    const payload = buildIpv4(packet);
    const bytes = ethernet({ destination, source: GATEWAY_MAC, type: EtherType.ipv4, payload });
    this.host.frame(rest ? { bytes, ...rest } : complete(bytes));
  }

  // ---- outside, time, state --------------------------------------------------------------------------------------

  /** @param listening whether the guest's driver is there */
  receive(message: Uint8Array, listening: boolean): void {
    this.tcp.receive(decodeStream(message), listening ? this.state.address : undefined);
  }

  /** The guest's driver starts anew. */
  reset(): void {
    this.tcp.guestLost();
    this.restore(this.initial());
  }

  save(): UserNetworkState {
    return structuredClone(this.state);
  }

  restore(state: UserNetworkState): void {
    this.state = structuredClone(state);
    this.tcp.state = this.state.tcp;
  }

  describe(): Field[] {
    const { dhcp, tcp, dropped, mac, address } = this.state;
    const total = dropped.reduce((sum, { count }) => sum + count, 0);
    const count = tcp.connections.length;
    return [
      { name: 'guest', value: ipv4Text(address), text: macText(mac) },
      ...dhcp.leases.map((lease): Field => {
        const name = lease.name && `, '${lease.name}'`;
        const text = `${macText(lease.mac)}${name}, ${lease.bound ? 'bound' : 'offered'}`;
        return { name: 'DHCP lease', value: ipv4Text(lease.address), text };
      }),
      { name: 'reachable ports', value: [...this.ports].join(', ') || 'none', text: `of ${ipv4Text(GATEWAY)}` },
      {
        name: 'TCP connections',
        value: String(count),
        text: `${tcp.opened} opened so far, ${tcp.refused} refused`,
        children: tcp.connections.map((c) => ({
          name: `${ipv4Text(c.guestAddress)}:${c.guestPort} ${c.hostPort >= 49152 && c.id % 2 === 0 ? '<-' : '->'} ${ipv4Text(c.hostAddress)}:${c.hostPort}`,
          value: c.state,
          text: `${c.received} bytes from the guest, ${c.sent} to it, ${c.buffer.length} not acknowledged; windows ${c.credit} and ${c.sndWnd}`,
        })),
      },
      {
        name: 'dropped',
        value: String(total),
        text: 'frames from the guest',
        children: dropped.map(({ reason, count: frames }) => ({ name: reason, value: String(frames) })),
      },
    ];
  }
}

function complete(bytes: Uint8Array): OutgoingFrame {
  return { bytes, checksumStart: 0, segmentSize: 0, headerLength: ETHERNET_HEADER + IPV4_HEADER + TCP_HEADER };
}

function isService(address: number): boolean {
  return address === GATEWAY || address === NAME_SERVER;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, i) => byte === b[i]);
}
