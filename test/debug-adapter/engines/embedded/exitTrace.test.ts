/** A trace of every exit of a guest that does hardly anything else: none is lost, and the machine need not record its history. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { runGuest } from '../../../../debug-adapter/cli/runGuest';
import { createEmbeddedTarget } from '../../../../debug-adapter/engines/embedded';

const benchmark = (name: string) => import(pathToFileURL(path.join(__dirname, '../../../benchmark', name)).href);

describe('a trace of exits', () => {
  it('has every exit once, in order, of a guest that makes several times as many as the log holds', async () => {
    const { systemWorkloads } = await benchmark('workloads.mjs');
    const { guestImage } = await benchmark('guestImage.mjs');
    const workload = systemWorkloads.find(({ name }: { name: string }) => name === 'exit-port');
    const rounds = 25;
    const bytes = new Uint8Array(guestImage(workload, 64, rounds));
    let next = 0;
    let last = -1;
    let ports = 0;
    let largest = 0;
    const outcome = await runGuest(
      {
        createTarget: () =>
          createEmbeddedTarget({
            kernel: { name: 'portOut', bytes },
            ...{ modules: [], cmdline: '', boot: 'multiboot', disks: [], memory: 16 << 20, cpus: 1, mode: 'bare' },
            ...{
              cpu: { vendor: 'intel', features: [] },
              exits: [],
              record: false,
              stopOnEntry: false,
              debugExit: true,
            },
          }),
      },
      {
        onExits: (exits) => {
          largest = Math.max(largest, exits.length);
          for (const { seq, icount, name, summary } of exits) {
            assert.equal(seq, next++);
            assert.ok(icount > last);
            last = icount;
            if (name === 'IO_INSTRUCTION' && summary.includes('0x80')) ports++;
          }
        },
      },
    );
    assert.deepEqual(outcome.end, { kind: 'debug exit', value: 0 });
    assert.equal(outcome.lostExits, 0);
    assert.equal(
      next,
      outcome.exitCounters.reduce((sum, { count }) => sum + count, 0),
    );
    assert.equal(ports, rounds * workload.events);
    assert.ok(largest < 65536, 'they come while the guest runs, before the log is full');
  });
});
