/**
 * The core in a browser: the same out/emulator-core/core.js that Node loads boots the sample guest in a worker in
 * Chromium, and prints there what it prints in Node.
 */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { launchChromium } from '../../scripts/lib/chromium.mjs';
import { root } from '../../scripts/lib/project.mjs';

const types = { '.js': 'text/javascript', '.html': 'text/html', '.elf': 'application/octet-stream' };
/** Address on the test's server -> file. */
const files = {
  '/core.js': 'out/emulator-core/core.js',
  '/boot.js': 'test/browser/boot.js',
  '/worker.js': 'test/browser/worker.js',
  '/hello.elf': 'samples/hello-guest/hello.elf',
};

describe('the core in a browser worker', () => {
  let server, browser;

  before(async () => {
    server = createServer(async (request, response) => {
      if (request.url === '/')
        return response.setHeader('content-type', 'text/html').end('<!doctype html><title>core</title>');
      const file = files[request.url];
      if (!file) return response.writeHead(404).end();
      response.setHeader('content-type', types[path.extname(request.url)]);
      const content = await readFile(path.join(root, file)).catch(() => undefined);
      if (!content) return response.writeHead(404).end();
      response.end(content);
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    browser = await launchChromium();
  });

  after(async () => {
    await browser?.close();
    server?.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  it('boots the sample guest to power-off, exactly as in Node', async () => {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    const inWorker = await page.evaluate(
      () =>
        new Promise((resolve, reject) => {
          const worker = new Worker('/worker.js');
          worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
          worker.onerror = (event) => reject(new Error(event.message ?? 'the worker did not load'));
        }),
    );
    const require = createRequire(import.meta.url);
    const { bootToEnd } = require('./boot.js');
    const kernel = new Uint8Array(await readFile(path.join(root, files['/hello.elf'])));
    const inNode = bootToEnd(require('../../out/emulator-core/core.js'), kernel);
    assert.match(inWorker.serial, /hello-guest: done/);
    assert.equal(inWorker.result, 'ended');
    assert.deepEqual(inWorker, inNode);
  });
});
