import { readFileSync } from 'node:fs';
import path from 'node:path';
import { endsTheSame } from './repeatability';

describe('a run of hello-guest', () => {
  for (const [cpus, mode] of [
    [1, 'bare'],
    [2, 'kvm'],
  ] as const) {
    it(`ends the same after going back, and from a snapshot: ${cpus} vCPU, mode ${mode}`, async () => {
      const name = path.join(__dirname, '../../samples/hello-guest/hello.elf');
      const bytes = new Uint8Array(readFileSync(name));
      await endsTheSame(
        () => ({
          ...{
            kernel: { name, bytes },
            modules: [],
            cmdline: '',
            boot: 'auto',
            disks: [],
            memory: 16 << 20,
            cpus,
            mode,
          },
          ...{ cpu: { vendor: 'intel', features: [] }, exits: [], record: true, stopOnEntry: true, debugExit: true },
        }),
        40_000,
      );
    });
  }
});
