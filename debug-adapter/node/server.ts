/** The adapter over stdio, or as a server on a loopback port. */
import { createServer, type Server, type Socket } from 'node:net';
import { Session, type SessionOptions } from '../session';

/** Serves one session on this process's standard streams and ends the process with it. */
export function serveStdio(options: Omit<SessionOptions, 'onDisconnect'>): void {
  const end = (): void => {
    // The response to `disconnect` is still on its way through the pipe.
    process.stdout.write('', () => process.exit(0));
  };
  const session = new Session({ ...options, onDisconnect: end });
  session.start(process.stdin, process.stdout);
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
    const session = new Session({ ...options, onDisconnect: () => socket.end() });
    socket.on('error', () => socket.destroy());
    session.start(socket, socket);
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}
