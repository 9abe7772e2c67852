/** What kernels print when they have given up. */
export const panicMarks: readonly string[] = [
  'end Kernel panic - not syncing', // Linux, kernel/panic.c
  'Reboot in five seconds', // Xen, common/shutdown and console: panic()
  'Manual reset required', // Xen with noreboot
];

/** Looks for texts in a stream of console bytes, also across pieces. Memory is bounded by the longest text. */
export class ConsoleWatch {
  private readonly decoder = new TextDecoder();
  private readonly keep: number;
  private tail = '';
  /** The text that was seen. */
  found?: string;

  /** @param texts none of them empty */
  constructor(private readonly texts: readonly string[]) {
    this.keep = Math.max(...texts.map((text) => text.length)) - 1;
  }

  /** True once one of the texts has come, from then on. */
  sees(data: Uint8Array): boolean {
    if (this.found !== undefined) return true;
    const text = this.tail + this.decoder.decode(data, { stream: true });
    this.found = this.texts.find((one) => text.includes(one));
    this.tail = this.keep > 0 ? text.slice(-this.keep) : '';
    return this.found !== undefined;
  }
}
