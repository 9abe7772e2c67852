/** Internet Control Message Protocol: RFC 792. */
import { viewOf } from './bytes';
import { checksum } from './checksum';
import type { ReceivedIpv4 } from './ipv4';

export const IcmpType = { echoReply: 0, unreachable: 3, echo: 8 } as const;
export const Unreachable = { net: 0, protocol: 2, port: 3 } as const;

const HEADER = 8;
/** Of the packet's data an error quotes that much. */
const QUOTED = 8;

/** The reply to an echo request; undefined for anything else, or with a bad checksum. */
export function echoReply(request: Uint8Array): Uint8Array | undefined {
  if (request.length < HEADER || request[0] !== IcmpType.echo || request[1] !== 0) return undefined;
  if (checksum(request) !== 0) return undefined;
  const reply = request.slice();
  reply[0] = IcmpType.echoReply;
  return withChecksum(reply);
}

/** "Destination Unreachable" for a packet: its header and the first 64 bits of its data. */
export function unreachable(code: number, { bytes, headerLength }: ReceivedIpv4): Uint8Array {
  const quoted = bytes.subarray(0, headerLength + QUOTED);
  const message = new Uint8Array(HEADER + quoted.length);
  message[0] = IcmpType.unreachable;
  message[1] = code;
  message.set(quoted, HEADER);
  return withChecksum(message);
}

function withChecksum(message: Uint8Array): Uint8Array {
  const view = viewOf(message);
  view.setUint16(2, 0);
  view.setUint16(2, checksum(message));
  return message;
}
