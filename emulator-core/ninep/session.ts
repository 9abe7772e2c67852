/**
 * A 9P2000.L server for one client, of which everything that must be remembered is plain data: fids, and the requests under way with what
 * was asked outside for them. Plan 9 manual, section 5: version(5), flush(5).
 */
import { Errno, Refusal } from './errno';
import { Fids, type Fid } from './fids';
import { Malformed, Reader } from './layout';
import { DATA_HEADER_BYTES, decodeRequest, encodeError, encodeReply, header, HEADER_BYTES, requestName, VERSION, type MessageName, type Request } from './messages'; // prettier-ignore
import { requestRow } from './requests';
import { answeredId, decodeOpAnswer, encodeOpRequest, OPS, type AnyRequest } from './shareMessages';

/** Linux takes 128 KiB unless told otherwise, and over virtio 500 KiB at most. */
export const MAX_MSIZE = 512 << 10;
/** Smaller ones make no sense: an Rgetattr and a name must fit. Linux's least, too. */
const MIN_MSIZE = 4096;
/** Requests that nobody outside has answered yet. */
const MAX_UNDER_WAY = 128;
/** Bytes of the smallest buffer that takes any error. */
export const ERROR_BYTES = HEADER_BYTES + 4;

type AnyMessage = Request<MessageName>;

/** A request that waits for an answer from outside. `Buffers`: where its reply goes. */
interface UnderWay<Buffers> {
  id: number;
  tag: number;
  name: Exclude<MessageName, 'version' | 'flush'>;
  /** The request and what was asked for it, both without the data of a write. */
  message: AnyMessage;
  asked: AnyRequest;
  /** Bytes of that data. */
  length: number;
  /** Where the reply goes; undefined: nobody waits for it any more, since it was flushed. */
  buffers?: Buffers;
}

export interface SessionState<Buffers> {
  /** 0: no version agreed on. */
  msize: number;
  fids: [number, Fid][];
  underWay: UnderWay<Buffers>[];
  /** Never used again, not even after a reset: what was asked before may still be answered. */
  nextId: number;
  /** Requests so far, by what they were. */
  counts: [name: MessageName, count: number][];
  failed: number;
}

export interface SessionHost<Buffers> {
  /** To the share's folder. */
  ask(message: Uint8Array): void;
  /** A reply, or an empty message: the request was flushed. */
  reply(buffers: Buffers, message: Uint8Array): void;
  /** The bytes that a reply may have. */
  room(buffers: Buffers): number;
  /** The data of a write request that was taken earlier. */
  writeData(buffers: Buffers, length: number): Uint8Array;
}

export class Session<Buffers> {
  readonly fids = new Fids();
  private state: Omit<SessionState<Buffers>, 'fids'> = initial(0);

  constructor(private readonly host: SessionHost<Buffers>) {}

  /** Whether another request may come. */
  get ready(): boolean {
    return this.state.underWay.length < MAX_UNDER_WAY;
  }
  get msize(): number {
    return this.state.msize;
  }
  get waiting(): number {
    return this.state.underWay.length;
  }
  get counts(): SessionState<Buffers>['counts'] {
    return this.state.counts;
  }
  get failed(): number {
    return this.state.failed;
  }

  /** A request. @param message of which the header is there */
  request(message: Uint8Array, buffers: Buffers): void {
    const { size, type, tag } = header.read(new Reader(message));
    const name = requestName(type);
    if (name) this.count(name);
    try {
      if (!name) throw new Refusal('EOPNOTSUPP');
      if (message.length > Math.max(this.msize, MIN_MSIZE)) throw new Refusal('EMSGSIZE');
      // Linux before 5.0 leaves the data of a write, which has buffers of its own, out of the size.
      const whole = name === 'write' && size === WRITE_HEADER_BYTES ? message.length : size;
      if (whole < HEADER_BYTES || whole > message.length) throw new Refusal('EINVAL');
      this.carryOut(name, tag, decodeRequest(name, message.subarray(HEADER_BYTES, whole)), buffers);
    } catch (error) {
      this.refuse(tag, error, buffers);
    }
  }

  private count(name: MessageName): void {
    const { counts } = this.state;
    const known = counts.find(([each]) => each === name);
    if (known) known[1]++;
    else counts.push([name, 1]);
  }

  private carryOut(name: MessageName, tag: number, message: AnyMessage, buffers: Buffers): void {
    if (name === 'version') return this.version(tag, message as Request<'version'>, buffers);
    if (this.msize === 0) throw new Refusal('EPROTO');
    if (name === 'flush') return this.flush(tag, message as Request<'flush'>, buffers);
    const row = requestRow(name);
    const context = this.context(buffers);
    const reply = row.reply?.(context, message);
    if (reply) return this.send(tag, encodeReply(name, tag, reply), buffers);
    const asked = { op: row.op, values: row.ask!(context, message) } as AnyRequest;
    const id = this.state.nextId;
    this.state.nextId = (id + 1) >>> 0;
    this.host.ask(encodeOpRequest(asked, id));
    const length = asked.op === 'write' ? asked.values.data.length : 0;
    this.state.underWay.push({ id, tag, name, message: light(message), asked: lightRequest(asked), length, buffers });
  }

  private context(buffers: Buffers): { fids: Fids; room: number } {
    const room = Math.max(0, Math.min(this.msize, this.host.room(buffers)) - DATA_HEADER_BYTES);
    return { fids: this.fids, room };
  }

  private send(tag: number, message: Uint8Array, buffers: Buffers): void {
    const fits = message.length <= this.host.room(buffers);
    if (fits) this.host.reply(buffers, message);
    else this.refuse(tag, new Refusal('EMSGSIZE'), buffers);
  }

  private refuse(tag: number, error: unknown, buffers: Buffers): void {
    this.state.failed++;
    this.host.reply(buffers, encodeError(tag, numberOf(error)));
  }

  /** A new session: all of the old one is forgotten. */
  private version(tag: number, { msize, version }: Request<'version'>, buffers: Buffers): void {
    if (msize < MIN_MSIZE) throw new Refusal('EMSGSIZE');
    for (const each of this.state.underWay) this.drop(each);
    this.fids.clear();
    const known = version === VERSION;
    const agreed = Math.min(msize, MAX_MSIZE);
    this.state.msize = known ? agreed : 0;
    const reply = { msize: agreed, version: known ? VERSION : 'unknown' };
    this.send(tag, encodeReply('version', tag, reply), buffers);
  }

  /** "the server should ... not reply to the flushed request": it gives its buffers back with nothing in them. */
  private flush(tag: number, { oldtag }: Request<'flush'>, buffers: Buffers): void {
    for (const each of this.state.underWay) if (each.tag === oldtag) this.drop(each);
    this.send(tag, encodeReply('flush', tag, {}), buffers);
  }

  /** It stays under way until it is answered, so that their number is bounded. */
  private drop(request: UnderWay<Buffers>): void {
    const { buffers } = request;
    if (buffers === undefined) return;
    delete request.buffers;
    this.host.reply(buffers, new Uint8Array(0));
  }

  /** What a folder says. An answer that nobody waits for, or that makes no sense, changes nothing but what it was for. */
  answered(message: Uint8Array): void {
    const id = message.length >= 4 ? answeredId(message) : -1;
    const index = this.state.underWay.findIndex((each) => each.id === id);
    if (index < 0) return;
    const [request] = this.state.underWay.splice(index, 1);
    const { tag, name, asked, buffers } = request;
    try {
      const answer = decodeOpAnswer(asked.op, message);
      if (buffers === undefined) return this.late(request, answer);
      if (typeof answer === 'number') throw new Answered(answer);
      if (!plausible(asked, answer)) throw new Refusal('EIO');
      const row = requestRow(name);
      const reply = row.finish!(this.context(buffers), request.message, answer, asked.values);
      this.send(tag, encodeReply(name, tag, reply), buffers);
    } catch (error) {
      if (buffers !== undefined) this.refuse(tag, error, buffers);
    }
  }

  /** A flushed request was done all the same: fids of what has moved follow. */
  private late({ name, message, asked }: UnderWay<Buffers>, answer: unknown): void {
    if (typeof answer === 'number' || asked.op !== 'rename') return;
    requestRow(name).finish!({ fids: this.fids, room: 0 }, message, answer, asked.values);
  }

  /** Those outside know nothing any more of what they were asked: they are asked again, unless doing it twice could do harm. */
  lost(): void {
    const { underWay } = this.state;
    this.state.underWay = underWay.filter(({ asked, buffers }) => buffers !== undefined && OPS[asked.op].again);
    for (const request of this.state.underWay) this.host.ask(encodeOpRequest(this.askedAgain(request), request.id));
    for (const { tag, asked, buffers } of underWay) {
      if (buffers !== undefined && !OPS[asked.op].again) this.refuse(tag, new Refusal('EIO'), buffers);
    }
  }

  private askedAgain({ asked, buffers, length }: UnderWay<Buffers>): AnyRequest {
    if (asked.op !== 'write') return asked;
    const data = this.host.writeData(buffers!, length);
    return { op: 'write', values: { ...asked.values, data } };
  }

  reset(): void {
    this.fids.clear();
    this.state = initial(this.state.nextId);
  }

  save(): SessionState<Buffers> {
    return structuredClone({ ...this.state, fids: this.fids.entries() });
  }

  restore(saved: SessionState<Buffers>): void {
    const { fids, ...state } = structuredClone(saved);
    this.state = state;
    this.fids.restore(fids);
  }
}

/** Header, fid[4] offset[8] count[4]. */
export const WRITE_HEADER_BYTES = HEADER_BYTES + 16;

function initial<Buffers>(nextId: number): Omit<SessionState<Buffers>, 'fids'> {
  return { msize: 0, underWay: [], nextId, counts: [], failed: 0 };
}

const NO_DATA = new Uint8Array(0);

function light(message: AnyMessage): AnyMessage {
  return 'data' in message ? { ...message, data: NO_DATA } : message;
}
function lightRequest(asked: AnyRequest): AnyRequest {
  return asked.op === 'write' ? { op: 'write', values: { ...asked.values, data: NO_DATA } } : asked;
}

/** An error that has come from outside. */
class Answered extends Error {
  constructor(readonly errno: number) {
    super(`errno ${errno}`);
  }
}

/** Whether there are attributes, and not more than were asked for. */
function plausible(asked: AnyRequest, answer: object): boolean {
  if (asked.op !== 'attributes') return true;
  const { found } = answer as { found: unknown[] };
  return found.length > 0 && found.length <= asked.values.places.length;
}

/** Any error as Linux's number: what does not decode is an invalid argument. */
function numberOf(error: unknown): number {
  if (error instanceof Answered) return error.errno;
  if (error instanceof Refusal) return Errno[error.errno];
  if (error instanceof Malformed) return Errno.EINVAL;
  throw error;
}
