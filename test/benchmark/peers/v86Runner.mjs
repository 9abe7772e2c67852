/** node v86Runner.mjs BUILD IMAGE: v86 on a flat multiboot image, COM1 on standard output. */
import { readFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [build, file] = process.argv.slice(2);
const { V86 } = await import(pathToFileURL(path.join(build, 'libv86.mjs')).href);
const emulator = new V86({
  wasm_path: path.join(build, 'v86.wasm'),
  memory_size: 64 << 20,
  multiboot: { buffer: Uint8Array.from(readFileSync(file)).buffer },
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
  autostart: true,
});
emulator.add_listener('serial0-output-byte', (byte) => writeSync(1, String.fromCharCode(byte)));
// It ends itself with an exception when the guest writes to port 0xf4.
process.on('uncaughtException', (error) => {
  if (error !== 'HALT') throw error;
});
