/** The adapter over stdio, or as a server on a loopback port. */
import { createServer, type Server, type Socket } from 'node:net';
import { Writable } from 'node:stream';
import { Session, type SessionOptions } from '../session';

/** Bytes that may wait for a client that does not read: the guest is held while there are more. */
const CONGESTED = 64 << 10;

/** Gathers what is written in one turn of the event loop: a response and the events behind it leave in one piece. */
class Gathering extends Writable {
  private parts: Buffer[] = [];
  private size = 0;
  /** congested()'s promise while there is one. */
  private waiting?: Promise<void>;

  constructor(private readonly to: Writable) {
    super({ decodeStrings: true });
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.parts.length === 0) setImmediate(() => this.flush());
    this.parts.push(chunk);
    this.size += chunk.length;
    done();
  }

  /** A promise while more waits for the client than it should; it resolves once the client has taken it, or is gone. */
  congested(): Promise<void> | undefined {
    const { to } = this;
    if (this.size + to.writableLength <= CONGESTED || to.destroyed) return undefined;
    this.waiting ??= new Promise((resolve) => {
      const done = (): void => {
        to.off('close', done);
        this.waiting = undefined;
        resolve();
      };
      to.once('close', done);
      this.flush(done);
    });
    return this.waiting;
  }

  /** Writes what has gathered; `done` is called once it is out. */
  flush(done?: () => void): void {
    const { parts } = this;
    this.parts = [];
    this.size = 0;
    if (parts.length > 0 || done) this.to.write(Buffer.concat(parts), () => done?.());
  }
}

/** Serves one session on this process's standard streams and ends the process with it. */
export function serveStdio(options: Omit<SessionOptions, 'onDisconnect' | 'congested'>): void {
  const output = new Gathering(process.stdout);
  // The response to `disconnect` is still on its way through the pipe.
  const end = (): void => output.flush(() => process.exit(0));
  const session = new Session({ ...options, onDisconnect: end, congested: () => output.congested() });
  session.start(process.stdin, output);
  process.on('SIGTERM', () => void session.leave());
}

/**
 * Serves sessions on 127.0.0.1, one for each connection, any number at once.
 * @param port 0: any free one
 * @returns the server once it listens. Rejects with the system's reason when the port is taken.
 */
export function serveSocket(
  options: Omit<SessionOptions, 'onDisconnect' | 'congested'>,
  port: number,
): Promise<Server> {
  const server = createServer((socket: Socket) => {
    socket.setNoDelay(true);
    const output = new Gathering(socket);
    const session = new Session({
      ...options,
      onDisconnect: () => output.flush(() => socket.end()),
      congested: () => output.congested(),
    });
    socket.on('error', () => socket.destroy());
    session.start(socket, output);
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}
