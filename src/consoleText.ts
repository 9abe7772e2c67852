/** Serial output as text for a terminal, and typed text as bytes for the UART. No vscode here: tested without an editor. */

/** Whether a line feed alone gets its carriage return: `auto` while the guest has not sent one before a line feed itself. */
export type CarriageReturns = 'auto' | 'always' | 'never';

export class ConsoleText {
  private readonly decoder = new TextDecoder();
  private last = '';
  /** The guest ends lines with CR LF: a line feed alone is meant so, as full-screen programs do. */
  private sendsReturns = false;
  private retained = '';

  /**
   * @param limit characters of output to keep for a terminal that is opened later
   * @param returns see CarriageReturns
   */
  constructor(
    private readonly limit: number,
    private readonly returns: CarriageReturns = 'auto',
  ) {}

  /** The newest output, as the terminal got it. */
  get kept(): string {
    return this.retained;
  }

  /** Output of the guest in UTF-8; a sequence that is not complete waits for its rest. Returns what the terminal shows. */
  decode(bytes: Uint8Array): string {
    return this.add(this.convert(this.decoder.decode(bytes, { stream: true })));
  }

  /** A line of Ringside's own, on a line of its own. Returns what the terminal shows. */
  note(text: string): string {
    const rest = this.convert(this.decoder.decode());
    const newLine = this.last !== '' && this.last !== '\n' ? '\r\n' : '';
    this.last = '\n';
    return this.add(`${rest}\x1b[0m${newLine}\x1b[2m${text}\x1b[0m\r\n`);
  }

  private convert(text: string): string {
    if (text === '') return text;
    const before = this.last;
    this.last = text.at(-1)!;
    if (this.returns === 'never') return text;
    return text.replace(/\r?\n/g, (end, at: number) => {
      const whole = end.length === 2 || (at === 0 && before === '\r');
      if (whole) this.sendsReturns = true;
      return whole || (this.returns === 'auto' && this.sendsReturns) ? end : '\r\n';
    });
  }

  private add(text: string): string {
    this.retained += text;
    // Cut now and then, so that each cut is worth its copy.
    if (this.retained.length > this.limit * 1.25) {
      this.retained = this.limit === 0 ? '' : this.retained.slice(-this.limit);
    }
    return text;
  }
}

/** Characters of a lump behind which output counts as hot: a screen of 80 by 24. */
const HOT = 80 * 24;

/**
 * Output is handed to the terminal in lumps. Drawing is what costs the editor's window most: behind a lump that fills the screen it gets
 * more time for other things, such as passing on what the debugger is asked and answers.
 * @param before characters of the lump before
 * @returns milliseconds to gather the next one
 */
export function lumpDelay(before: number): number {
  return isHot(before) ? 100 : 16;
}

/** Whether a lump of so many characters fills the screen. */
export function isHot(characters: number): boolean {
  return characters >= HOT;
}

/** Typed or pasted text for the UART: Enter is CR on a serial line, and pasted text ends its lines with LF or CR LF. */
export function typedBytes(text: string): Uint8Array {
  // A line feed alone is Ctrl+J.
  return new TextEncoder().encode(text === '\n' ? text : text.replace(/\r?\n/g, '\r'));
}

/** What tells a shell on a serial line, which has no size of its own, that of the terminal. */
export function sizeCommand(rows: number, columns: number): string {
  return `stty rows ${rows} cols ${columns}\r`;
}
