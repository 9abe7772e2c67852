/** When a session asks its host to save memory. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Saving } from '../../debug-adapter/engine';
import { nodeHost } from '../../debug-adapter/node/host';
import { saveMemory } from '../../debug-adapter/node/saveMemory';
import { connect, launch } from './client';
import { FIXTURE } from './fakeTarget';

describe('saving memory', () => {
  let folder: string;
  before(() => (folder = mkdtempSync(path.join(tmpdir(), 'ringside-memory-'))));
  after(() => rmSync(folder, { recursive: true }));

  /** What the host was asked for over a session with a symbol file of a size: at its first stop, and at its end. */
  async function asked(size: number): Promise<[atStop: Saving[], atEnd: Saving[]]> {
    const file = path.join(folder, 'symbols.elf');
    copyFileSync(FIXTURE, file);
    truncateSync(file, size); // zeros behind what an ELF file has are nobody's
    const log: Saving[] = [];
    const fixture = await connect({}, { ...nodeHost, saveMemory: (saving) => log.push(saving) });
    await launch(fixture, { symbols: [{ file }] });
    const atStop = [...log];
    const stopped = fixture.client.waitForEvent('stopped');
    await fixture.client.stepInRequest({ threadId: 1 });
    await stopped;
    await fixture.close();
    return [atStop, log];
  }

  it('is for large symbol files, and not while the guest runs', async () => {
    assert.deepEqual(await asked(70 << 20), [['most'], ['most', 'some', 'most', 'none']]);
    assert.deepEqual(await asked(1 << 20), [[], []]);
  });

  it('can be turned on and off', () => {
    for (const saving of ['most', 'most', 'some', 'none'] as const) saveMemory(saving);
    assert.ok(Array.from({ length: 1000 }, (_, i) => ({ i })).every(({ i }, at) => i === at));
  });
});
