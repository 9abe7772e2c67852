/**
 * Byte streams between a guest and what stands behind a network device outside: the messages of one protocol, which net and vsock share.
 * A stream has an ID, which whoever opens it chooses: the device an odd one, the outside an even one; none is used again. Each side sends
 * no more bytes than the other has said it will take.
 */

export type StreamMessage =
  /** The guest wants a stream to a port outside; `credit`: bytes that it will take at first. Answer: opened or refused. */
  | { kind: 'open'; id: number; port: number; credit: number }
  /** Somebody outside wants a stream to a port of the guest's. Answer: opened or refused. */
  | { kind: 'accept'; id: number; port: number; credit: number }
  | { kind: 'opened'; id: number; credit: number }
  | { kind: 'refused'; id: number }
  | { kind: 'data'; id: number; data: Uint8Array }
  /** The sender of this takes so many more bytes. */
  | { kind: 'credit'; id: number; count: number }
  /** The sender of this has no more data. When both sides have said so, the stream has ended. */
  | { kind: 'shut'; id: number }
  /** The stream has ended at once. */
  | { kind: 'reset'; id: number };

export type StreamMessageKind = StreamMessage['kind'];

const KINDS: readonly StreamMessageKind[] = ['open', 'accept', 'opened', 'refused', 'data', 'credit', 'shut', 'reset'];
/** Kind (8 bits) and ID (32 bits). */
const HEADER = 5;
/** Bytes behind the header; data has any number. */
const LENGTHS: Record<StreamMessageKind, number | undefined> = {
  open: 8,
  accept: 8,
  opened: 4,
  refused: 0,
  data: undefined,
  credit: 4,
  shut: 0,
  reset: 0,
};

/** Bytes of one data message at most. */
export const MAX_STREAM_DATA = 1 << 16;
/** Streams of one device at a time. */
export const MAX_STREAMS = 64;
/** Bytes that a side takes at first, and that it holds at most. */
export const STREAM_WINDOW = 256 << 10;

/** A message as bytes; numbers are little-endian. */
export function encodeStream(message: StreamMessage): Uint8Array {
  const data = message.kind === 'data' ? message.data : undefined;
  const bytes = new Uint8Array(HEADER + (data?.length ?? LENGTHS[message.kind]!));
  const view = new DataView(bytes.buffer);
  view.setUint8(0, KINDS.indexOf(message.kind));
  view.setUint32(1, message.id, true);
  switch (message.kind) {
    case 'open':
    case 'accept':
      view.setUint32(HEADER, message.port, true);
      view.setUint32(HEADER + 4, message.credit, true);
      break;
    case 'opened':
      view.setUint32(HEADER, message.credit, true);
      break;
    case 'credit':
      view.setUint32(HEADER, message.count, true);
      break;
    case 'data':
      bytes.set(message.data, HEADER);
  }
  return bytes;
}

/** The message in these bytes. Data is a copy. Throws when it is none. */
export function decodeStream(bytes: Uint8Array): StreamMessage {
  if (bytes.length < HEADER)
    throw new RangeError(`a stream message of ${bytes.length} bytes, expected ${HEADER} or more`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const kind = KINDS.at(view.getUint8(0));
  const id = view.getUint32(1, true);
  if (!kind) throw new RangeError(`a stream message of kind ${bytes[0]}, expected 0 to ${KINDS.length - 1}`);
  const length = bytes.length - HEADER;
  const expected = LENGTHS[kind];
  if (expected !== undefined ? length !== expected : length < 1 || length > MAX_STREAM_DATA) {
    throw new RangeError(
      `stream ${id}: '${kind}' with ${length} bytes, expected ${expected ?? `1 to ${MAX_STREAM_DATA}`}`,
    );
  }
  switch (kind) {
    case 'open':
    case 'accept':
      return { kind, id, port: view.getUint32(HEADER, true), credit: view.getUint32(HEADER + 4, true) };
    case 'opened':
      return { kind, id, credit: view.getUint32(HEADER, true) };
    case 'credit':
      return { kind, id, count: view.getUint32(HEADER, true) };
    case 'data':
      return { kind, id, data: bytes.slice(HEADER) };
    default:
      return { kind, id };
  }
}
