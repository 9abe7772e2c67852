/** Every line of vectors/*.txt on the machine: what the differential harness found once, on any host. */
import assert from 'node:assert';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { CPU_FEATURES } from '../../emulator-core/cpu/cpuFeatures';
import { difference } from './compare';
import { Emulated } from './emulated';
import { runOnMachine } from './harness';
import { parseLine } from './vectorLine';

const FOLDER = path.join(__dirname, 'vectors');

describe('vectors of the differential harness', () => {
  const machine = new Emulated(new Set(CPU_FEATURES.map((feature) => feature.name)));
  for (const file of readdirSync(FOLDER).filter((name) => name.endsWith('.txt'))) {
    it(`${file} agrees with hardware`, () => {
      const problems: string[] = [];
      for (const line of readFileSync(path.join(FOLDER, file), 'utf8').split('\n')) {
        if (line === '' || line.startsWith('#')) continue;
        const { sequence, code, cases, want } = parseLine(line);
        const found = difference(sequence, cases, 0, runOnMachine(machine, code, cases), want);
        if (found.length) problems.push(`${line}\n    ${found.join('; ')}`);
      }
      assert.strictEqual(problems.length, 0, problems.slice(0, 10).join('\n'));
    });
  }
});
