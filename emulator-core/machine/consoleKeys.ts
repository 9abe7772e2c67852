/** Keys typed on the console that no device has taken yet: for the UART, and in a guest that starts in real mode for INT 16h as well. */
import { ByteQueue } from './byteQueue';

/** Bytes that wait for the UART at most: what is typed beyond is refused. */
export const TYPED_LIMIT = 16 << 20;
/** Keys that wait for INT 16h at most. Those beyond are lost, as in a full keyboard buffer: most guests never ask for any. */
const BIOS_KEYS = 1 << 16;
/** Keys offered to the UART at a time. */
const OFFER = 64;

export class ConsoleKeys {
  private readonly uart = new ByteQueue();
  private readonly bios = new ByteQueue();

  /** @param take the UART takes what its queue holds, and says how many that were */
  constructor(private readonly take: (bytes: Uint8Array) => number) {}

  /** Whether so many more bytes can wait. */
  hasRoom(count: number): boolean {
    return this.uart.length + count <= TYPED_LIMIT;
  }

  /**
   * @param bytes must not change from now on
   * @param bios for INT 16h, too
   */
  type(bytes: Uint8Array, bios: boolean): void {
    this.uart.push(bytes);
    if (bios) this.bios.push(bytes.subarray(0, Math.max(0, BIOS_KEYS - this.bios.length)));
    this.offer();
  }

  /** Some key waits for the UART. */
  get waiting(): boolean {
    return this.uart.length > 0;
  }

  /** The UART takes what its queue holds; the rest waits. */
  offer(): void {
    this.uart.drop(this.take(this.uart.peek(OFFER)));
  }

  /** The oldest key for INT 16h, which `take` removes; undefined when there is none. */
  biosKey(take: boolean): number | undefined {
    const key: number | undefined = this.bios.peek(1)[0];
    if (take && key !== undefined) this.bios.drop(1);
    return key;
  }

  reset(): void {
    this.uart.drop(this.uart.length);
    this.bios.drop(this.bios.length);
  }
  save(): { uart: ReturnType<ByteQueue['save']>; bios: ReturnType<ByteQueue['save']> } {
    return { uart: this.uart.save(), bios: this.bios.save() };
  }
  restore(saved: ReturnType<ConsoleKeys['save']>): void {
    this.uart.restore(saved.uart);
    this.bios.restore(saved.bios);
  }
}
