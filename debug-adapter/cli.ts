#!/usr/bin/env node
/** The command line `ringside` as a program: what cli/ needs of Node. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { homedir } from 'node:os';
import packageJson from '../package.json';
import { main } from './cli/main';
import { exitStatus } from './cli/runEnd';
import type { Keyboard, Services } from './cli/services';
import { embeddedEngine as engine } from './engines/embedded';
import { nodeHost } from './node/host';
import { prepareProcess } from './node/prepare';
import { serveSocket, serveStdio } from './node/server';

const schema = packageJson.contributes.debuggers[0].configurationAttributes.launch as Services['schema'];

/** Standard input; the listener is the only thing that would keep the process alive. */
function keyboard(): Keyboard {
  const { stdin } = process;
  let listener: ((data: Uint8Array) => void) | undefined;
  return {
    terminal: stdin.isTTY === true,
    start(typed) {
      listener = (data) => typed(new Uint8Array(data));
      if (stdin.isTTY) stdin.setRawMode(true);
      stdin.on('error', () => {}); // closed by whoever owns it: no more input
      stdin.on('data', listener);
    },
    stop() {
      if (!listener) return;
      stdin.off('data', listener);
      stdin.pause();
      if (stdin.isTTY) stdin.setRawMode(false);
      listener = undefined;
    },
  };
}

/** Writes at once, so that a trace of any length takes no memory and a full disk is noticed. */
function createTrace(path: string): { write(text: string): void; close(): void } {
  const file = openSync(path, 'w');
  return {
    write(text) {
      const bytes = Buffer.from(text);
      for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done);
    },
    close: () => closeSync(file),
  };
}

/** Calls `action` at a signal, until what is returned is called: then one ends the program, which is on its way to its end. */
function onInterrupt(action: () => void): () => void {
  const signals = ['SIGINT', 'SIGTERM'] as const;
  signals.forEach((signal) => process.on(signal, action));
  return () => {
    const end = (): never => process.exit(exitStatus({ kind: 'quit' }));
    signals.forEach((signal) => process.on(signal, end));
    signals.forEach((signal) => process.off(signal, action));
  };
}

async function serveDap(port: number | undefined): Promise<number> {
  const options = { engine, host: nodeHost, schema };
  if (port === undefined) serveStdio(options);
  else {
    const server = await serveSocket(options, port);
    process.stderr.write(`Listening on 127.0.0.1:${(server.address() as { port: number }).port}\n`);
  }
  return new Promise(() => {}); // the session's end, or a signal, ends the process
}

const services: Services = {
  schema,
  version: packageJson.version,
  host: nodeHost,
  engine,
  userHome: homedir(),
  env: process.env,
  out: (data) => void process.stdout.write(data),
  err: (text) => void process.stderr.write(text),
  keyboard: keyboard(),
  createTrace,
  onInterrupt,
  now: () => performance.now(),
  serveDap,
};

prepareProcess();

// A reader that has seen enough (`ringside run k | head`) closes the pipe: nobody to write to, nothing to do.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

void main(process.argv.slice(2), services).then((status) => {
  // What was written may still be on its way through a pipe.
  process.stdout.write('', () => process.stderr.write('', () => process.exit(status)));
});
