/** DAP's framing: a header with the length, then JSON. No vscode here: tested without an editor. */

const LENGTH = /^content-length: *(\d+)$/im;
/** Bytes of a header: a sane one has twenty-some. */
const MOST_HEADER = 1024;

export function encodeMessage(message: unknown): Uint8Array {
  const body = Buffer.from(JSON.stringify(message));
  return Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body]);
}

/** Takes a stream apart into messages. */
export class MessageReader {
  private parts: Uint8Array[] = [];
  private size = 0;
  /** Bytes of the body that is being received; -1: its header is. */
  private length = -1;

  /**
   * @param data the next bytes
   * @returns the messages that are complete now, parsed
   * @throws Error for what is no DAP, behind the messages before it
   */
  *add(data: Uint8Array): Generator<unknown, void> {
    this.parts.push(data);
    this.size += data.length;
    for (;;) {
      if (this.length < 0 && !this.takeHeader()) return;
      if (this.size < this.length) return;
      const body = this.take(this.length);
      this.length = -1;
      yield JSON.parse(body.toString());
    }
  }

  private takeHeader(): boolean {
    const start = this.joined();
    const end = start.subarray(0, MOST_HEADER).indexOf('\r\n\r\n');
    if (end < 0 && this.size < MOST_HEADER) return false;
    const found = LENGTH.exec(start.toString('latin1', 0, Math.max(0, end)));
    if (!found) throw new Error(`expected Content-Length, found ${JSON.stringify(start.toString('latin1', 0, 80))}`);
    this.take(end + 4);
    this.length = Number(found[1]);
    return true;
  }

  private joined(): Buffer {
    if (this.parts.length !== 1) this.parts = [Buffer.concat(this.parts)];
    const [whole] = this.parts;
    return Buffer.from(whole.buffer, whole.byteOffset, whole.length);
  }

  private take(count: number): Buffer {
    const whole = this.joined();
    this.size -= count;
    this.parts = [whole.subarray(count)];
    return whole.subarray(0, count);
  }
}
