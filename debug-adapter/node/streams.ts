/**
 * What stands behind a guest's network outside: TCP on this machine's loopback interface, to the ports that the launch names and from those
 * that it forwards, and to nothing else. Messages are emulator-core/net/streams.ts'.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import {
  decodeStream,
  encodeStream,
  MAX_STREAM_DATA,
  MAX_STREAMS,
  STREAM_WINDOW,
  type StreamMessage,
} from '../../emulator-core/net/streams';
import type { LinkService } from '../engines/embedded/links';
import type { Streams, StreamsWanted } from '../engines/launch';

/** Tried in this order. */
const LOOPBACK = ['127.0.0.1', '::1'] as const;

/** @throws the system's reason, with `port`, when a port cannot be listened on */
export async function openStreams({ ports, forward }: StreamsWanted): Promise<Streams> {
  const listeners: Server[] = [];
  const close = (): void => listeners.forEach((each) => each.close());
  /** Who takes connections now: listeners outlive services, which begin anew when the guest does. */
  let current: StreamService | undefined;
  // Even ones, as the protocol has it, and none twice.
  let lastId = 0;
  const newId = (): number => (lastId += 2);
  try {
    for (const { host, guest } of forward) {
      listeners.push(await listen(host, (socket) => (current ? current.accept(socket, guest) : socket.destroy())));
    }
  } catch (error) {
    close();
    throw error;
  }
  return {
    open(answer) {
      const service = new StreamService(new Set(ports), answer, newId, () => {
        if (current === service) current = undefined;
      });
      current = service;
      return service;
    },
    close,
  };
}

async function listen(port: number, connected: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, connected);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(Object.assign(error, { port })));
    server.listen(port, LOOPBACK[0], resolve);
  });
  // Too many open files: a connection is lost, not the session.
  server.on('error', () => undefined);
  return server;
}

interface Stream {
  id: number;
  socket: Socket;
  /** Bytes that the guest's side takes. */
  credit: number;
  /** Both sides know of it. */
  open: boolean;
  /** No more data: from the socket, from the guest. */
  ended: boolean;
  shut: boolean;
}

class StreamService implements LinkService {
  private readonly streams = new Map<number, Stream>();

  constructor(
    private readonly ports: ReadonlySet<number>,
    private readonly answer: (message: Uint8Array) => void,
    private readonly newId: () => number,
    private readonly closed: () => void,
  ) {}

  get busy(): boolean {
    return this.streams.size > 0;
  }

  message(bytes: Uint8Array): void {
    const message = decodeStream(bytes);
    if (message.kind === 'open') {
      this.open(message);
      return;
    }
    const stream = this.streams.get(message.id);
    if (!stream) return;
    const { socket, id } = stream;
    switch (message.kind) {
      case 'opened':
        if (socket.destroyed) {
          // Whoever had connected has given up meanwhile.
          this.streams.delete(id);
          this.send({ kind: 'reset', id });
          return;
        }
        stream.credit = message.credit;
        stream.open = true;
        this.flow(stream);
        return;
      case 'data': {
        const { length } = message.data;
        socket.write(message.data, (error) => {
          if (!error && this.streams.get(id) === stream) this.send({ kind: 'credit', id, count: length });
        });
        return;
      }
      case 'credit':
        stream.credit += message.count;
        this.read(stream);
        return;
      case 'shut':
        stream.shut = true;
        socket.end();
        this.forgetEnded(stream);
        return;
      default:
        this.streams.delete(id);
        socket.resetAndDestroy();
    }
  }

  close(): void {
    this.closed();
    for (const { socket } of this.streams.values()) socket.resetAndDestroy();
    this.streams.clear();
  }

  /** Somebody has connected to a forwarded port. */
  accept(socket: Socket, port: number): void {
    if (this.streams.size >= MAX_STREAMS) {
      socket.destroy();
      return;
    }
    const stream = this.add(this.newId(), socket, 0);
    this.send({ kind: 'accept', id: stream.id, port, credit: STREAM_WINDOW });
  }

  private open({ id, port, credit }: { id: number; port: number; credit: number }): void {
    // The device has looked already; here is where it counts.
    if (!this.ports.has(port) || this.streams.size >= MAX_STREAMS) {
      // Not within this call.
      queueMicrotask(() => this.send({ kind: 'refused', id }));
      return;
    }
    this.tryNext(id, port, credit, [...LOOPBACK]);
  }

  private tryNext(id: number, port: number, credit: number, [host, ...others]: readonly string[]): void {
    const socket = connect({ host, port, allowHalfOpen: true });
    const stream = this.add(id, socket, credit);
    const failed = (): void => {
      if (this.streams.get(id) !== stream) return;
      this.streams.delete(id);
      if (others.length > 0) this.tryNext(id, port, credit, others);
      else this.send({ kind: 'refused', id });
    };
    socket.once('error', failed);
    socket.once('connect', () => {
      socket.off('error', failed);
      if (this.streams.get(id) !== stream) return;
      stream.open = true;
      this.send({ kind: 'opened', id, credit: STREAM_WINDOW });
      this.flow(stream);
    });
  }

  private add(id: number, socket: Socket, credit: number): Stream {
    const stream: Stream = { id, socket, credit, open: false, ended: false, shut: false };
    this.streams.set(id, stream);
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.once('close', () => this.lost(stream));
    return stream;
  }

  /** From now on data goes to the guest as far as it takes it. */
  private flow(stream: Stream): void {
    const { socket } = stream;
    socket.on('readable', () => this.read(stream));
    socket.once('end', () => {
      if (this.streams.get(stream.id) !== stream) return;
      stream.ended = true;
      this.send({ kind: 'shut', id: stream.id });
      this.forgetEnded(stream);
    });
    this.read(stream);
  }

  private read(stream: Stream): void {
    const { socket } = stream;
    while (stream.open && stream.credit > 0 && this.streams.get(stream.id) === stream) {
      const length = Math.min(socket.readableLength, stream.credit, MAX_STREAM_DATA);
      // With nothing there, a read asks for more, and finds the end.
      const data = socket.read(length || undefined) as Uint8Array | null;
      if (!data || data.length === 0) return;
      stream.credit -= data.length;
      this.send({ kind: 'data', id: stream.id, data });
    }
  }

  private forgetEnded(stream: Stream): void {
    if (stream.ended && stream.shut) this.streams.delete(stream.id);
  }

  /** The socket is gone before both sides had ended. */
  private lost(stream: Stream): void {
    if (this.streams.get(stream.id) !== stream || !stream.open) return;
    this.streams.delete(stream.id);
    this.send({ kind: 'reset', id: stream.id });
  }

  private send(message: StreamMessage): void {
    this.answer(encodeStream(message));
  }
}
