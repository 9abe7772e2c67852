/** What a client sees of a guest that runs and prints as fast as it can. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createEmbeddedTarget } from '../../../../debug-adapter/engines/embedded';
import type { TargetEvents } from '../../../../debug-adapter/target';

const FLOOD = path.join(__dirname, '../../../guests/serialFlood.bin');

describe('a running guest', () => {
  it('leaves the event loop two turns between slices: one in which requests are answered, one in which answers leave', async () => {
    const target = await createEmbeddedTarget({
      kernel: { name: 'serialFlood', bytes: new Uint8Array(readFileSync(FLOOD)) },
      ...{ modules: [], cmdline: '', boot: 'multiboot', disks: [], memory: 16 << 20, cpus: 1, mode: 'bare' },
      ...{ cpu: { vendor: 'intel', features: [] }, exits: [], record: true, stopOnEntry: false, debugExit: true },
    });
    const seen: [number, number][] = [];
    await new Promise<void>((resolve) => {
      target.setEvents({
        // At the end of a slice, before the event loop turns.
        console: () => {
          setImmediate(() => {
            const first = target.icount();
            setImmediate(() => {
              seen.push([first, target.icount()]);
              if (seen.length === 5) resolve();
            });
          });
        },
        note: () => undefined,
        exitsChanged: () => undefined,
        continued: () => undefined,
        stopped: () => resolve(),
        ended: () => resolve(),
      } as Partial<TargetEvents> as TargetEvents);
      target.run({ kind: 'continue', cpu: 0 });
    });
    target.dispose();
    assert.equal(seen.length, 5);
    for (const [first, second] of seen) assert.equal(second, first);
    assert.ok(seen[4][0] > seen[0][0], 'the guest went on in between');
  });
});
