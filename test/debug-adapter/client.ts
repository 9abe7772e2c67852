/** A DAP client for tests: the adapter in this process, behind a loopback socket, or a program over stdio. */
import type { Server } from 'node:net';
import { DebugClient } from '@vscode/debugadapter-testsupport';
import type { DebugProtocol } from '@vscode/debugprotocol';
import packageJson from '../../package.json';
import type { Host } from '../../debug-adapter/engine';
import type { Schema } from '../../debug-adapter/launchSchema';
import { nodeHost } from '../../debug-adapter/node/host';
import { serveSocket } from '../../debug-adapter/node/server';
import { FakeEngine, FIXTURE, type FakeOptions } from './fakeTarget';

export const schema = packageJson.contributes.debuggers[0].configurationAttributes.launch as Schema;

export interface Fixture {
  client: DebugClient;
  engine: FakeEngine;
  events: DebugProtocol.Event[];
  /** Output of a category so far. */
  output(category: string): string;
  close(): Promise<void>;
}

/** A connected client with a fake engine behind the whole adapter. */
export async function connect(options: FakeOptions = {}, host: Host = nodeHost): Promise<Fixture> {
  const engine = new FakeEngine(options);
  const server: Server = await serveSocket({ engine, host, schema }, 0);
  const client = new DebugClient('node', '', 'ringside');
  await client.start((server.address() as { port: number }).port);
  client.defaultTimeout = 5000;
  const events: DebugProtocol.Event[] = [];
  for (const event of [
    'stopped',
    'output',
    'terminated',
    'exited',
    'breakpoint',
    'continued',
    'initialized',
    'invalidated',
    'memory',
  ]) {
    client.on(event, (each: DebugProtocol.Event) => events.push(each));
  }
  for (const event of ['ringside/console', 'ringside/exitsChanged', 'ringside/note'])
    client.on(event, (each) => events.push(each));
  return {
    client,
    engine,
    events,
    output: (category) =>
      events
        .filter((each) => each.event === 'output' && each.body.category === category)
        .map((each) => each.body.output)
        .join(''),
    async close() {
      // stop() disconnects; the server goes down once its sessions have ended.
      await client.stop().catch(() => undefined);
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export type Launch = Record<string, unknown> & DebugProtocol.LaunchRequestArguments;

/** initialize, launch, and `configure` between `initialized` and configurationDone. Returns the first stop, or undefined with `stopOnEntry` false. */
export async function launch(
  { client }: Fixture,
  attributes: Record<string, unknown> = {},
  configure: () => Promise<unknown> = async () => undefined,
): Promise<void> {
  await client.initializeRequest({
    adapterID: 'ringside',
    linesStartAt1: true,
    columnsStartAt1: true,
    pathFormat: 'path',
    supportsInvalidatedEvent: true,
    supportsMemoryEvent: true,
  });
  const initialized = client.waitForEvent('initialized');
  await client.launchRequest({ kernel: FIXTURE, stopOnEntry: true, ...attributes } as Launch);
  await initialized;
  await configure();
  const stopped = attributes.stopOnEntry === false ? undefined : client.waitForEvent('stopped');
  await client.configurationDoneRequest();
  await stopped;
}
