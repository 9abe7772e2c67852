/** A DHCP server: RFC 2131 for the exchange, RFC 2132 for the options. */
import {
  FIRST_LEASE,
  GATEWAY,
  LAST_LEASE,
  LIMITED_BROADCAST,
  NAME_SERVER,
  NETMASK,
  NETWORK_BROADCAST,
} from './addresses';
import { viewOf } from './bytes';

export const DHCP_SERVER_PORT = 67;
export const DHCP_CLIENT_PORT = 68;

/** RFC 2132, "DHCP Message Type". */
export const DhcpType = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const;

const Option = {
  ...{ pad: 0, subnetMask: 1, router: 3, nameServer: 6, hostName: 12, broadcast: 28, requested: 50, leaseTime: 51 },
  ...{ messageType: 53, server: 54, renewal: 58, rebinding: 59, end: 255 },
} as const;

const BOOT_REQUEST = 1;
const BOOT_REPLY = 2;
/** RFC 2131, figure 1: the fixed fields, then the magic cookie. */
const FIXED = 236;
const MAGIC = 0x63825363;
/** RFC 1542, section 2.1: a BOOTP message has 300 bytes or more. */
const MINIMUM = 300;
const BROADCAST_FLAG = 0x8000;
const LEASE_SECONDS = 86400;
const MAX_NAME = 63;

export interface Lease {
  /** Hardware address: six bytes. */
  mac: Uint8Array;
  address: number;
  /** What the client calls itself. */
  name: string;
  /** The client has taken the offer. */
  bound: boolean;
}

export interface DhcpState {
  leases: Lease[];
}

/** An answer and where it goes. */
export interface DhcpReply {
  message: Uint8Array;
  destination: number;
  /** Undefined: to everybody. */
  mac?: Uint8Array;
}

interface Request {
  view: DataView;
  bytes: Uint8Array;
  mac: Uint8Array;
  type: number;
  clientAddress: number;
  requested?: number;
  server?: number;
  name: string;
}

/** Takes a client's message; the answer, if one is due. Changes `state`. */
export function serveDhcp(state: DhcpState, bytes: Uint8Array): DhcpReply | undefined {
  const request = parse(bytes);
  if (!request) return undefined;
  if (request.server !== undefined && request.server !== GATEWAY) {
    // Another server's offer was taken.
    return undefined;
  }
  switch (request.type) {
    case DhcpType.discover: {
      const lease = leaseFor(state, request);
      return lease && reply(request, DhcpType.offer, lease.address);
    }
    case DhcpType.request: {
      const wanted = request.requested ?? request.clientAddress;
      const lease = leaseFor(state, request);
      if (!lease || wanted !== lease.address) return reply(request, DhcpType.nak, 0);
      lease.bound = true;
      return reply(request, DhcpType.ack, lease.address);
    }
    case DhcpType.inform:
      return reply(request, DhcpType.ack, 0);
    case DhcpType.release:
    case DhcpType.decline: {
      const lease = find(state, request.mac);
      if (lease) lease.bound = false;
      return undefined;
    }
    default:
      return undefined;
  }
}

function parse(bytes: Uint8Array): Request | undefined {
  if (bytes.length < FIXED + 4) return undefined;
  const view = viewOf(bytes);
  // Ethernet addresses of six bytes, not by way of a relay.
  if (bytes[0] !== BOOT_REQUEST || bytes[1] !== 1 || bytes[2] !== 6 || view.getUint32(24) !== 0) return undefined;
  if (view.getUint32(FIXED) !== MAGIC) return undefined;
  const options = parseOptions(bytes.subarray(FIXED + 4));
  const type = options.get(Option.messageType);
  if (type?.length !== 1) return undefined;
  const address = (option: number): number | undefined => {
    const value = options.get(option);
    return value?.length === 4 ? viewOf(value).getUint32(0) : undefined;
  };
  return {
    ...{ view, bytes, mac: bytes.slice(28, 34), type: type[0], clientAddress: view.getUint32(12) },
    ...{ requested: address(Option.requested), server: address(Option.server) },
    name: nameOf(options.get(Option.hostName)),
  };
}

/** The first value of each option; those behind one that is cut short do not count. */
function parseOptions(bytes: Uint8Array): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>();
  for (let at = 0; at < bytes.length && bytes[at] !== Option.end;) {
    if (bytes[at] === Option.pad) {
      at++;
      continue;
    }
    const end = at + 2 + bytes[at + 1];
    if (!(end <= bytes.length)) break;
    if (!options.has(bytes[at])) options.set(bytes[at], bytes.subarray(at + 2, end));
    at = end;
  }
  return options;
}

/** A host name as DNS has it (RFC 952, RFC 1123), lower case; '' for anything else. */
function nameOf(value: Uint8Array | undefined): string {
  const text = String.fromCharCode(...(value ?? [])).toLowerCase();
  return text.length <= MAX_NAME && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(text) ? text : '';
}

function find({ leases }: DhcpState, mac: Uint8Array): Lease | undefined {
  return leases.find((lease) => lease.mac.every((byte, i) => byte === mac[i]));
}

/** A client's lease: the one that it has, or the next address; undefined when there is none left. */
function leaseFor(state: DhcpState, { mac, name }: Request): Lease | undefined {
  let lease = find(state, mac);
  if (!lease) {
    const address = FIRST_LEASE + state.leases.length;
    if (address > LAST_LEASE) return undefined;
    state.leases.push((lease = { mac, address, name, bound: false }));
  }
  if (name) lease.name = name;
  return lease;
}

/** RFC 2131, table 3: fields and options of a server's messages. */
function reply(request: Request, type: number, address: number): DhcpReply {
  const nak = type === DhcpType.nak;
  const options: number[] = [Option.messageType, 1, type];
  const number = (option: number, value: number): void => {
    options.push(option, 4, ...[24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff));
  };
  number(Option.server, GATEWAY);
  if (!nak) {
    if (request.type !== DhcpType.inform) {
      number(Option.leaseTime, LEASE_SECONDS);
      number(Option.renewal, LEASE_SECONDS / 2);
      number(Option.rebinding, (LEASE_SECONDS * 7) / 8);
    }
    number(Option.subnetMask, NETMASK);
    number(Option.router, GATEWAY);
    number(Option.nameServer, NAME_SERVER);
    number(Option.broadcast, NETWORK_BROADCAST);
  }
  options.push(Option.end);

  const message = new Uint8Array(Math.max(MINIMUM, FIXED + 4 + options.length));
  const view = viewOf(message);
  // Opcode, hardware type and length, transaction, flags and hardware address are the client's.
  message.set(request.bytes.subarray(0, 8));
  message[0] = BOOT_REPLY;
  message[3] = 0;
  view.setUint16(10, request.view.getUint16(10));
  if (!nak) view.setUint32(12, request.clientAddress);
  view.setUint32(16, address);
  message.set(request.bytes.subarray(28, 44), 28);
  view.setUint32(FIXED, MAGIC);
  message.set(options, FIXED + 4);
  return { message, ...destination(request, nak, address) };
}

/** RFC 2131, section 4.1: where a server's messages go. */
function destination(request: Request, nak: boolean, address: number): Pick<DhcpReply, 'destination' | 'mac'> {
  const broadcast = (request.view.getUint16(10) & BROADCAST_FLAG) !== 0;
  if (!nak && request.clientAddress !== 0) return { destination: request.clientAddress, mac: request.mac };
  if (nak || broadcast || address === 0) return { destination: LIMITED_BROADCAST };
  return { destination: address, mac: request.mac };
}
