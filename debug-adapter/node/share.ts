/** A folder of this system behind a share's device. Requests are carried out one after the other, and never while the adapter waits. */
import { Errno, Refusal, type ErrnoName } from '../../emulator-core/ninep/errno';
import { Malformed } from '../../emulator-core/ninep/layout';
import { decodeOpRequest, encodeOpAnswer, Open, OPS, type AnyRequest, type OpAnswer, type OpName } from '../../emulator-core/ninep/shareMessages'; // prettier-ignore
import type { LinkService, OpenLink } from '../engines/embedded/links';
import { ShareFolder } from './shareFolder';
import { SHARE_OPS, type OpContext } from './shareOps';

/** What may wait. A device keeps well below, unless its driver resets it again and again. */
const MAX_WAITING = 1024;
const MAX_WAITING_BYTES = 128 << 20;

/**
 * Opens a folder for a guest.
 * @param write the guest may change what is in it
 * @throws the system's reason: ENOENT, ENOTDIR
 */
export async function openShare(name: string, write: boolean): Promise<OpenLink> {
  const folder = await ShareFolder.at(name);
  const device = await folder.with([], async ({ stat }) => stat.dev);
  return (answer) => new Share({ folder, device }, write, answer);
}

class Share implements LinkService {
  private waiting = 0;
  private waitingBytes = 0;
  private last: Promise<void> = Promise.resolve();
  private closed = false;

  constructor(
    private readonly context: OpContext,
    private readonly write: boolean,
    private readonly answer: (message: Uint8Array) => void,
  ) {}

  get busy(): boolean {
    return this.waiting > 0;
  }

  message(message: Uint8Array): void {
    const over = this.waiting >= MAX_WAITING || this.waitingBytes + message.length > MAX_WAITING_BYTES;
    this.waiting++;
    this.waitingBytes += message.length;
    const work = async (): Promise<void> => {
      const answer = this.closed ? undefined : await this.serve(message, over);
      this.waiting--;
      this.waitingBytes -= message.length;
      if (answer && !this.closed) this.answer(answer);
    };
    if (over) void Promise.resolve().then(work);
    else this.last = this.last.then(work);
  }

  private async serve(message: Uint8Array, over: boolean): Promise<Uint8Array | undefined> {
    let decoded: { id: number; request: AnyRequest };
    try {
      decoded = decodeOpRequest(message);
    } catch (error) {
      // Whose answer would it be?
      if (error instanceof Malformed) return undefined;
      throw error;
    }
    const { id, request } = decoded;
    return encodeOpAnswer(request.op, id, over ? Errno.EIO : await this.carryOut(request));
  }

  private async carryOut({ op, values }: AnyRequest): Promise<OpAnswer<OpName> | number> {
    if (!this.write && needsWriting(op, values)) return Errno.EROFS;
    try {
      const act = SHARE_OPS[op] as (context: OpContext, request: unknown) => Promise<OpAnswer<OpName>>;
      return await act(this.context, values);
    } catch (error) {
      return errnoOf(error);
    }
  }

  close(): void {
    this.closed = true;
  }
}

function needsWriting(op: OpName, values: AnyRequest['values']): boolean {
  if (OPS[op].writes) return true;
  return op === 'open' && ((values as { flags: number }).flags & (Open.write | Open.truncate)) !== 0;
}

/** Linux's number of any error: of a refusal, or by the name that Node has for it on every system. */
function errnoOf(error: unknown): number {
  const name = error instanceof Refusal ? error.errno : (error as NodeJS.ErrnoException).code;
  return Errno[name as ErrnoName] ?? Errno.EIO;
}
