/**
 * A name server that knows this network and nothing else, so that a guest never waits: RFC 1035. What it does not know does not exist.
 */
import { GATEWAY, NAME_SERVER } from './addresses';
import { viewOf } from './bytes';

export const DNS_PORT = 53;

const HEADER = 12;
const Flag = { response: 0x8000, opcode: 0x7800, authoritative: 0x0400, recursionDesired: 0x0100, recursionAvailable: 0x0080 } as const; // prettier-ignore
export const Rcode = { ok: 0, formatError: 1, nameError: 3, notImplemented: 4, refused: 5 } as const;
const Type = { a: 1, ptr: 12, any: 255 } as const;
const CLASS_INTERNET = 1;
const CLASS_ANY = 255;
const TTL_SECONDS = 60;
/** Offset of the question's name, as a compression pointer. */
const QUESTION_NAME = 0xc000 | HEADER;
/** Names also work with this behind them; it is reserved for private networks. */
const DOMAIN = '.internal';
const REVERSE = '.in-addr.arpa';

/** Names besides the guest's own. */
const NAMES: Readonly<Record<string, number>> = { host: GATEWAY, gateway: GATEWAY, dns: NAME_SERVER };

export interface DnsGuest {
  /** What the guest calls itself; '': not known. */
  name: string;
  address: number;
}

/** The answer to a query; undefined for what is no query at all. */
export function answerDns(query: Uint8Array, guests: readonly DnsGuest[]): Uint8Array | undefined {
  if (query.length < HEADER) return undefined;
  const view = viewOf(query);
  const flags = view.getUint16(2);
  if (flags & Flag.response) return undefined;
  if (flags & Flag.opcode) return respond(query, HEADER, Rcode.notImplemented);
  const question = view.getUint16(4) === 1 ? parseQuestion(query) : undefined;
  if (!question) return respond(query, HEADER, Rcode.formatError);
  const { name, type, class: queryClass, end } = question;
  if (queryClass !== CLASS_INTERNET && queryClass !== CLASS_ANY) return respond(query, end, Rcode.refused);

  const named: Record<string, number> = { ...NAMES };
  for (const guest of guests) if (guest.name && !Object.hasOwn(NAMES, guest.name)) named[guest.name] = guest.address;

  if (name.endsWith(REVERSE)) {
    const address = reverseAddress(name.slice(0, -REVERSE.length));
    const found = Object.keys(named).find((each) => named[each] === address);
    if (!found) return respond(query, end, Rcode.nameError);
    const wanted = type === Type.ptr || type === Type.any;
    return respond(query, end, Rcode.ok, wanted ? { type: Type.ptr, data: encodeName(found + DOMAIN) } : undefined);
  }
  const short = name.endsWith(DOMAIN) ? name.slice(0, -DOMAIN.length) : name;
  if (!Object.hasOwn(named, short)) return respond(query, end, Rcode.nameError);
  const data = new Uint8Array(4);
  viewOf(data).setUint32(0, named[short]);
  // Other types of a name that exists, such as AAAA: no error, no answer.
  return respond(query, end, Rcode.ok, type === Type.a || type === Type.any ? { type: Type.a, data } : undefined);
}

interface Question {
  /** Lower case, without a dot at its end. */
  name: string;
  type: number;
  class: number;
  end: number;
}

function parseQuestion(query: Uint8Array): Question | undefined {
  const labels: string[] = [];
  let at = HEADER;
  for (;;) {
    const length = query.at(at);
    // Compression in a question has nothing to point to.
    if (length === undefined || length > 63 || at - HEADER > 255) return undefined;
    at++;
    if (length === 0) break;
    const label = query.subarray(at, at + length);
    if (label.length < length) return undefined;
    labels.push(String.fromCharCode(...label).toLowerCase());
    at += length;
  }
  if (at + 4 > query.length) return undefined;
  const view = viewOf(query);
  return { name: labels.join('.'), type: view.getUint16(at), class: view.getUint16(at + 2), end: at + 4 };
}

/** '2.2.0.10' is 10.0.2.2. */
function reverseAddress(text: string): number | undefined {
  const found = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  return found?.slice(1).reduceRight((address, byte) => address * 256 + Number(byte), 0);
}

function encodeName(name: string): Uint8Array {
  const bytes = name.split('.').flatMap((label) => [label.length, ...Array.from(label, (char) => char.charCodeAt(0))]);
  return Uint8Array.of(...bytes, 0);
}

/** @param end where the question ends; HEADER: it is left out */
function respond(
  query: Uint8Array,
  end: number,
  rcode: number,
  answer?: { type: number; data: Uint8Array },
): Uint8Array {
  const response = new Uint8Array(end + (answer ? 12 + answer.data.length : 0));
  response.set(query.subarray(0, end));
  const view = viewOf(response);
  const kept = view.getUint16(2) & (Flag.opcode | Flag.recursionDesired);
  view.setUint16(2, Flag.response | Flag.authoritative | Flag.recursionAvailable | kept | rcode);
  view.setUint16(4, end > HEADER ? 1 : 0);
  view.setUint16(6, answer ? 1 : 0);
  view.setUint32(8, 0);
  if (answer) {
    view.setUint16(end, QUESTION_NAME);
    view.setUint16(end + 2, answer.type);
    view.setUint16(end + 4, CLASS_INTERNET);
    view.setUint32(end + 6, TTL_SECONDS);
    view.setUint16(end + 10, answer.data.length);
    response.set(answer.data, end + 12);
  }
  return response;
}
