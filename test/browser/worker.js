/* The browser side of core.test.mjs: boots the sample guest in this worker and posts what it did. */
/* global bootToEnd, RingsideCore */
importScripts('/core.js', '/boot.js');

fetch('/hello.elf')
  .then((response) => response.arrayBuffer())
  .then((buffer) => postMessage(bootToEnd(RingsideCore, new Uint8Array(buffer))))
  .catch((error) => postMessage({ error: error.stack ?? String(error) }));
