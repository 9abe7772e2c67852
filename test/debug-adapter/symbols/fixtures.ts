import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SymbolStore } from '../../../debug-adapter/symbols/symbolStore';

const directory = join(__dirname, 'fixtures');

export function fixtureBytes(name: string): Uint8Array {
  return new Uint8Array(readFileSync(join(directory, name)));
}

export function fixtureLines(name: string): string[] {
  return readFileSync(join(directory, name), 'utf8').split('\n');
}

export function storeOf(name: string, offset = 0n): SymbolStore {
  const store = new SymbolStore();
  store.addFile(`/target/${name}`, fixtureBytes(name), { offset });
  return store;
}

/** Reads the initial contents of a fixture's segments, as a loader would have placed them. */
export function imageReader(name: string): (address: bigint, length: number) => Promise<Uint8Array> {
  const bytes = fixtureBytes(name);
  const view = new DataView(bytes.buffer);
  const wide = bytes[4] === 2;
  const table = wide ? Number(view.getBigUint64(32, true)) : view.getUint32(28, true);
  const size = wide ? 56 : 32;
  const count = view.getUint16(wide ? 56 : 44, true);
  return (address, length) => {
    for (let i = 0; i < count; i++) {
      const at = table + i * size;
      const offset = wide ? Number(view.getBigUint64(at + 8, true)) : view.getUint32(at + 4, true);
      const start = wide ? view.getBigUint64(at + 16, true) : BigInt(view.getUint32(at + 8, true));
      const inFile = wide ? Number(view.getBigUint64(at + 32, true)) : view.getUint32(at + 16, true);
      const relative = Number(address - start);
      if (address < start || relative >= inFile) continue;
      return Promise.resolve(bytes.subarray(offset + relative, offset + Math.min(inFile, relative + length)));
    }
    return Promise.resolve(new Uint8Array(0));
  };
}
