/** Keys typed on the console that no device has taken yet: for the UART, and in a guest that starts in real mode for INT 16h as well. */

/** Keys that wait for INT 16h at most. */
const BIOS_KEYS = 256;
/** Keys offered to the UART at a time. */
const OFFER = 64;

export class ConsoleKeys {
  private uart: number[] = [];
  private bios: number[] = [];

  /** @param take the UART takes what its queue holds, and says how many that were */
  constructor(private readonly take: (bytes: Uint8Array) => number) {}

  /** @param bios for INT 16h, too */
  type(bytes: Uint8Array, bios: boolean): void {
    for (const byte of bytes) {
      this.uart.push(byte);
      if (bios && this.bios.length < BIOS_KEYS) this.bios.push(byte);
    }
    this.offer();
  }

  /** Some key waits for the UART. */
  get waiting(): boolean {
    return this.uart.length > 0;
  }

  /** The UART takes what its queue holds; the rest waits. */
  offer(): void {
    const taken = this.take(Uint8Array.from(this.uart.slice(0, OFFER)));
    if (taken > 0) this.uart.splice(0, taken);
  }

  /** The oldest key for INT 16h, which `take` removes; undefined when there is none. */
  biosKey(take: boolean): number | undefined {
    return take ? this.bios.shift() : this.bios[0];
  }

  reset(): void {
    this.uart = [];
    this.bios = [];
  }
  save(): { uart: number[]; bios: number[] } {
    return { uart: [...this.uart], bios: [...this.bios] };
  }
  restore(saved: ReturnType<ConsoleKeys['save']>): void {
    this.uart = saved.uart;
    this.bios = saved.bios;
  }
}
