/** The adapter over stdio, or as a server on a loopback port. */
import { createServer, type Server, type Socket } from 'node:net';
import { Writable } from 'node:stream';
import { Session, type SessionOptions } from '../session';

/** Gathers what is written in one turn of the event loop: a response and the events behind it leave in one piece. */
class Gathering extends Writable {
  private parts: Buffer[] = [];

  constructor(private readonly to: Writable) {
    super({ decodeStrings: true });
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.parts.length === 0) setImmediate(() => this.flush());
    this.parts.push(chunk);
    done();
  }

  /** Writes what has gathered; `done` is called once it is out. */
  flush(done?: () => void): void {
    const { parts } = this;
    this.parts = [];
    if (parts.length > 0 || done) this.to.write(Buffer.concat(parts), () => done?.());
  }
}

/** Serves one session on this process's standard streams and ends the process with it. */
export function serveStdio(options: Omit<SessionOptions, 'onDisconnect'>): void {
  const output = new Gathering(process.stdout);
  // The response to `disconnect` is still on its way through the pipe.
  const end = (): void => output.flush(() => process.exit(0));
  const session = new Session({ ...options, onDisconnect: end });
  session.start(process.stdin, output);
  process.on('SIGTERM', () => void session.leave());
}

/**
 * Serves sessions on 127.0.0.1, one for each connection, any number at once.
 * @param port 0: any free one
 * @returns the server once it listens. Rejects with the system's reason when the port is taken.
 */
export function serveSocket(options: Omit<SessionOptions, 'onDisconnect'>, port: number): Promise<Server> {
  const server = createServer((socket: Socket) => {
    socket.setNoDelay(true);
    const output = new Gathering(socket);
    const session = new Session({ ...options, onDisconnect: () => output.flush(() => socket.end()) });
    socket.on('error', () => socket.destroy());
    session.start(socket, output);
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}
