/** The adapter as a program: `node main.js` speaks DAP on its standard streams, `--server=PORT` listens on loopback. */
import packageJson from '../package.json';
import { embeddedEngine as engine } from './engines/embedded';
import type { Schema } from './launchSchema';
import { nodeHost } from './node/host';
import { prepareProcess } from './node/prepare';
import { serveSocket, serveStdio } from './node/server';

prepareProcess();
const schema = packageJson.contributes.debuggers[0].configurationAttributes.launch as Schema;
const options = { engine, host: nodeHost, schema };

const argument = process.argv.slice(2).find((each) => each.startsWith('--server'));
if (argument === undefined) serveStdio(options);
else {
  const port = Number(/^--server=(\d+)$/.exec(argument)?.[1] ?? NaN);
  if (!Number.isInteger(port) || port > 65535) {
    console.error(`'${argument}': expected --server=PORT, with a port from 0 to 65535`);
    process.exit(2);
  }
  serveSocket(options, port).then(
    (server) => console.error(`Listening on 127.0.0.1:${(server.address() as { port: number }).port}`),
    (error: Error) => {
      console.error(`Can't listen on port ${port}: ${error.message}`);
      process.exit(1);
    },
  );
}
