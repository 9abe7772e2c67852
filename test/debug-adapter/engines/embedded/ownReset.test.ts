/** A guest that resets the machine, again and again. */
import assert from 'node:assert/strict';
import { createEmbeddedTarget } from '../../../../debug-adapter/engines/embedded';
import type { Target } from '../../../../debug-adapter/target';

const ROUNDS = 1000;
/** mov edi, ROUNDS; again: xor eax, eax; cpuid; dec edi; jnz again; mov dx, 0cf9h; mov al, 6; out dx, al */
const GUEST = [
  ...[0xbf, ROUNDS & 0xff, ROUNDS >> 8, 0, 0, 0x31, 0xc0, 0x0f, 0xa2, 0x4f, 0x75, 0xf9],
  ...[0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee],
];
const INSTRUCTIONS = 1 + 4 * ROUNDS + 3;

function createTarget(memory: number): Promise<Target> {
  return createEmbeddedTarget({
    kernel: { name: 'resets', bytes: Uint8Array.from(GUEST) },
    ...{ modules: [], cmdline: '', boot: 'raw', disks: [], memory, cpus: 1, mode: 'bare' },
    ...{ cpu: { vendor: 'intel', features: [] }, exits: [], record: true, stopOnEntry: false, debugExit: true },
  });
}

describe("a guest's own reset", () => {
  it('keeps writes from outside away and input for later, and a pause waits for its end', async () => {
    const target = await createTarget(256 << 20);
    try {
      const stopped = new Promise<void>((resolve, reject) => {
        target.setEvents({
          console: () => undefined,
          note: () => undefined,
          exitsChanged: () => undefined,
          continued: () => undefined,
          stopped: () => resolve(),
          ended: () => reject(new Error('the guest has ended')),
        });
      });
      target.run({ kind: 'continue', cpu: 0 });
      const resetting = async (): Promise<boolean> => {
        try {
          await target.writeMemory('physical', 0, 0x200000n, Uint8Array.of(0x55));
          return false;
        } catch (error) {
          assert.equal((error as Error).message, 'the guest is resetting the machine: wait for its end');
          return true;
        }
      };
      while (!(await resetting())) await new Promise((resolve) => setImmediate(resolve));
      assert.ok(target.consoleInput(Uint8Array.of(0x61)));
      target.pause();
      await stopped;
      assert.ok(target.icount() < INSTRUCTIONS);
      const [byte] = await target.readMemory('physical', 0, 0x200000n, 1);
      assert.equal(byte, 0);
      assert.equal(await resetting(), false);
    } finally {
      target.dispose();
    }
  });
});
