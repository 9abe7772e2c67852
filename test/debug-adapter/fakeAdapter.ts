/** The adapter as a program on its standard streams, with a fake engine. */
import { nodeHost } from '../../debug-adapter/node/host';
import { serveStdio } from '../../debug-adapter/node/server';
import { schema } from './client';
import { FakeEngine } from './fakeTarget';

serveStdio({ engine: new FakeEngine(), host: nodeHost, schema });
