/**
 * What the editor's window is busy with, for tests in the extension host, which is another process: a server on loopback that they ask.
 * fixtures/window.ts is their side.
 */
import http from 'node:http';

/** Runs in the window before anything else does. Long tasks take 50 ms and more (W3C, Long Tasks API). */
function observe() {
  globalThis.ringsideLongTasks = [];
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries())
      globalThis.ringsideLongTasks.push({ at: performance.timeOrigin + startTime, duration });
  }).observe({ type: 'longtask', buffered: true });
}

/** @returns {Promise<{ url: string, watch: (page: import('playwright-core').Page) => Promise<void>, close: () => void }>} */
export async function windowProbe() {
  let watched;
  const server = http.createServer((_request, response) => {
    void Promise.resolve(watched?.evaluate(() => globalThis.ringsideLongTasks))
      .catch(() => undefined)
      .then((tasks) => response.end(JSON.stringify(tasks ?? null)));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  server.unref();
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    async watch(page) {
      watched = page;
      await page.addInitScript(observe);
    },
    close: () => server.close(),
  };
}
