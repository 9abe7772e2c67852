const CTRL_A = 0x01;

/**
 * What a user types at a terminal in raw mode: everything goes to the guest but the escapes that begin with Ctrl-A, as
 * with QEMU's -nographic: Ctrl-A x quits, Ctrl-A Ctrl-A sends one Ctrl-A.
 */
export class TerminalInput {
  private escaped = false;

  constructor(
    private readonly send: (data: Uint8Array) => void,
    private readonly quit: () => void,
  ) {}

  /** Takes bytes as typed. */
  type(data: Uint8Array): void {
    const bytes: number[] = [];
    for (const byte of data) {
      if (!this.escaped && byte === CTRL_A) {
        this.escaped = true;
        continue;
      }
      if (this.escaped) {
        this.escaped = false;
        if (byte === 0x78 /* x */ || byte === 0x58 /* X */) {
          if (bytes.length) this.send(Uint8Array.from(bytes));
          this.quit();
          return;
        }
        if (byte !== CTRL_A) continue; // no such escape
      }
      bytes.push(byte);
    }
    if (bytes.length) this.send(Uint8Array.from(bytes));
  }
}
