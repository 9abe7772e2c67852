/** virtio-console with one port: hvc0 under Linux. VIRTIO 1.2, "Console Device". */
import type { Field } from '../../fields';
import type { VirtioDevice, VirtioHost } from './virtioDevice';

interface ConsoleState {
  /** Bytes from outside that the driver has given no buffers for. */
  waiting: Uint8Array;
  received: number;
  sent: number;
  /** Characters. */
  cols: number;
  rows: number;
  /** The driver has been told of the size. */
  told: boolean;
}

const RECEIVE = 0;
const TRANSMIT = 1;
/** struct virtio_console_config: cols, rows, max_nr_ports, emerg_wr. */
const CONFIG_BYTES = 12;
const COLS = 0;
const ROWS = 2;
/** Until somebody says otherwise. */
const DEFAULT_SIZE = { cols: 80, rows: 25 };
const EMERGENCY_WRITE = 8;
/** Input that waits for the driver. */
const INPUT_BOUND = 4096;
/** Of one buffer the rest beyond that many bytes is dropped: no driver sends so much at once. */
const MAX_OUTPUT = 1 << 20;

export class VirtioConsole implements VirtioDevice<ConsoleState> {
  readonly name: string;
  readonly type = 'console';
  readonly features = { SIZE: 0, EMERG_WRITE: 2 };
  readonly queues = [
    { name: 'receiveq', size: 64 },
    { name: 'transmitq', size: 64 },
  ];
  readonly config = new Uint8Array(CONFIG_BYTES);
  private state: ConsoleState = { waiting: new Uint8Array(0), received: 0, sent: 0, told: false, ...DEFAULT_SIZE };

  /** @param output gets what the guest writes */
  constructor(
    index: number,
    private readonly host: VirtioHost,
    private readonly output: (byte: number) => void,
  ) {
    this.name = `virtconsole${index}`;
    this.showSize();
  }

  /** Whether a driver listens. */
  get open(): boolean {
    return this.host.active;
  }

  /** Input from outside. Returns how many bytes were taken: offer the rest again later. */
  input(bytes: Uint8Array): number {
    const { state } = this;
    const taken = bytes.subarray(0, Math.max(0, INPUT_BOUND - state.waiting.length));
    const joined = new Uint8Array(state.waiting.length + taken.length);
    joined.set(state.waiting);
    joined.set(taken, state.waiting.length);
    state.waiting = joined;
    this.fill();
    return taken.length;
  }

  /** The terminal outside has another size, in characters (1 to 65535): tells the driver. */
  resize(cols: number, rows: number): void {
    Object.assign(this.state, { cols, rows });
    this.showSize();
    this.host.configChanged();
  }

  private showSize(): void {
    const view = new DataView(this.config.buffer);
    view.setUint16(COLS, this.state.cols, true);
    view.setUint16(ROWS, this.state.rows, true);
  }

  notify(queue: number): void {
    if (queue === RECEIVE) this.fill();
    else this.transmit();
  }

  writeConfig(offset: number, data: Uint8Array): void {
    if (offset === EMERGENCY_WRITE) this.output(data[0]);
  }

  private fill(): void {
    const { state } = this;
    const queue = this.host.queue(RECEIVE);
    while (state.waiting.length > 0) {
      const chain = queue.pop();
      if (!chain) return;
      const written = chain.write(0, state.waiting);
      state.waiting = state.waiting.slice(written);
      state.received += written;
      queue.push(chain, written);
    }
  }

  private transmit(): void {
    const queue = this.host.queue(TRANSMIT);
    for (let chain = queue.pop(); chain; chain = queue.pop()) {
      const data = chain.read(0, MAX_OUTPUT);
      for (const byte of data) this.output(byte);
      this.state.sent += data.length;
      queue.push(chain, 0);
    }
    // Linux's driver reads the size when it changes only, and not before it has its terminal: which it has when it writes.
    if (this.state.sent > 0 && !this.state.told) {
      this.state.told = true;
      this.host.configChanged();
    }
  }

  reset(): void {
    const { cols, rows } = this.state; // a reset does not change the terminal outside
    this.state = { waiting: new Uint8Array(0), received: 0, sent: 0, told: false, cols, rows };
  }

  save(): ConsoleState {
    return { ...this.state, waiting: this.state.waiting.slice() };
  }

  restore(state: ConsoleState): void {
    this.state = { ...state, waiting: state.waiting.slice() };
    this.showSize();
  }

  describe(): Field[] {
    const { waiting, received, sent, cols, rows } = this.state;
    return [
      { name: 'size', value: `${cols}x${rows}`, text: 'characters' },
      { name: 'sent', value: String(sent), text: 'bytes from the guest' },
      { name: 'received', value: String(received), text: 'bytes to the guest' },
      { name: 'input waiting', value: String(waiting.length), text: 'bytes' },
    ];
  }
}
