/** The guests of npm run bench compute what test/benchmark/workloads.mjs computes in JavaScript, interpreted and compiled. */
import assert from 'node:assert';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { runGuest } from '../../debug-adapter/cli/runGuest';
import { createEmbeddedTarget } from '../../debug-adapter/engines/embedded';

interface Workload {
  name: string;
  says: string;
  flags?: readonly string[];
}

const module = (name: string) => import(pathToFileURL(path.join(__dirname, '../benchmark', name)).href);

describe('guests of the benchmarks', function () {
  this.timeout(180_000); // each test runs two dozen guests
  const guests = (async () => {
    const { workloads, systemWorkloads } = await module('workloads.mjs');
    const rows = (list: Workload[], width: 32 | 64) => list.map((workload) => ({ workload, width }));
    return [...rows(workloads, 32), ...rows(workloads, 64), ...rows(systemWorkloads, 64)];
  })();

  /** All guests, two rounds each. */
  async function runAll(compile: 'off' | 'always', change: (image: Buffer) => void = () => {}) {
    const { guestImage } = await module('guestImage.mjs');
    const outcomes: Record<string, string> = {};
    for (const { workload, width } of await guests) {
      const bytes: Buffer = guestImage(workload, width, 2);
      change(bytes);
      const mode = workload.flags?.includes('kvm') ? 'kvm' : 'bare';
      let text = '';
      const outcome = await runGuest(
        {
          createTarget: () =>
            createEmbeddedTarget({
              kernel: { name: workload.name, bytes: new Uint8Array(bytes) },
              modules: [],
              cmdline: '',
              boot: 'multiboot',
              disks: [],
              memory: 16 << 20,
              cpus: 1,
              mode,
              cpu: { vendor: 'intel', features: [] },
              exits: [],
              record: false,
              stopOnEntry: false,
              debugExit: true,
              compile,
            }),
        },
        { onConsole: (data) => (text += Buffer.from(data).toString('latin1')) },
      );
      const value = 'value' in outcome.end ? outcome.end.value : outcome.end.kind;
      outcomes[`${workload.name}-${width}`] = `${text.slice(0, 2)} ${value}`;
    }
    return outcomes;
  }

  const all = async (outcome: string) =>
    Object.fromEntries((await guests).map(({ workload, width }) => [`${workload.name}-${width}`, outcome]));

  for (const compile of ['off', 'always'] as const)
    it(`compute what JavaScript computes, with compile ${compile}`, async () => {
      assert.deepStrictEqual(await runAll(compile), await all('<> 0'));
    });

  it('notice that they computed something else', async () => {
    const spoiled = await runAll('off', (image) => {
      const at = image.indexOf('parameters: ') + 16;
      image.writeInt32LE(~image.readInt32LE(at), at);
    });
    assert.deepStrictEqual(spoiled, await all('<! 1'));
  });
});
