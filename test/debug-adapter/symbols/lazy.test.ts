import assert from 'node:assert/strict';
import { ByteSource, memorySource } from '../../../emulator-core/boot/byteSource';
import { ElfFile } from '../../../emulator-core/boot/elf';
import { atOnce } from '../../../debug-adapter/introspection/slices';
import { sortedOrder } from '../../../debug-adapter/symbols/radixSort';
import { SharedWork } from '../../../debug-adapter/symbols/sharedWork';
import { SymbolStore } from '../../../debug-adapter/symbols/symbolStore';
import { fixtureBytes } from './fixtures';

/** A source that notes what is read of it. */
function watched(bytes: Uint8Array): ByteSource & { reads: [from: number, to: number][]; closed: number } {
  const inner = memorySource(bytes);
  return {
    size: bytes.length,
    reads: [],
    closed: 0,
    read(offset, length) {
      this.reads.push([offset, offset + length]);
      // A copy, as from a disk.
      return inner.read(offset, length).slice();
    },
    close() {
      this.closed++;
    },
  };
}

/** Puts `gap` zeros between the contents and the section headers, so that no read of a header reaches a debug section. */
function withGap(bytes: Uint8Array, gap: number): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headers = Number(view.getBigUint64(40, true));
  const result = new Uint8Array(bytes.length + gap);
  result.set(bytes.subarray(0, headers));
  result.set(bytes.subarray(headers), headers + gap);
  new DataView(result.buffer).setBigUint64(40, BigInt(headers + gap), true);
  return result;
}

describe('symbols: files read by ranges', () => {
  const bytes = withGap(fixtureBytes('pair-v5.elf'), 1 << 17);
  const lazyStore = (): { store: SymbolStore; source: ReturnType<typeof watched> } => {
    const store = new SymbolStore();
    const source = watched(bytes);
    store.addFile('/target/pair-v5.elf', source);
    return { store, source };
  };
  const touched = (source: ReturnType<typeof watched>, name: string): boolean => {
    const section = new ElfFile(bytes, 'pair').section(name)!;
    const [low, high] = [section.offset, section.offset + Number(section.size)];
    return source.reads.some(([from, to]) => from < high && to > low);
  };

  it('reads a section when it is needed, not before', () => {
    const { store, source } = lazyStore();
    // The ELF header, section headers and their names, through windows of 64 KiB.
    assert.ok(source.reads.length <= 5, `${source.reads.length} reads of headers`);
    source.reads = [];
    for (const name of ['.symtab', '.debug_info', '.debug_line', '.debug_str']) assert.ok(!touched(source, name), name);
    assert.equal(store.findSymbol('probe')?.kind, 'function');
    assert.ok(touched(source, '.symtab'));
    for (const name of ['.debug_info', '.debug_line', '.debug_str']) assert.ok(!touched(source, name), name);
    assert.ok(store.lineAt(store.findSymbol('probe')!.address));
    assert.ok(touched(source, '.debug_line') && touched(source, '.debug_info'));
  });

  it('gives the same answers in slices, at once, and from memory', async () => {
    const memory = new SymbolStore();
    memory.addFile('/target/pair-v5.elf', bytes);
    const expected = memory.addressesForLine('/src/fixtures/shared.h', 5);
    assert.ok(expected.length > 1);
    const { store } = lazyStore();
    const searches = [store.findLine('/src/fixtures/shared.h', 5), store.findLine('/src/fixtures/shared.h', 5)];
    // While those are under way, somebody who cannot wait.
    assert.deepEqual(store.addressesForLine('/src/fixtures/shared.h', 5), expected);
    for (const found of await Promise.all(searches)) assert.deepEqual(found, expected);
    await Promise.all([store.prepare(), store.prepareNames(), store.prepareNames()]);
    assert.equal(store.findVariable('console')?.type.size, memory.findVariable('console')?.type.size);
    assert.deepEqual(await store.findSourceFiles(), memory.sourceFiles());
    assert.deepEqual(
      await store.findLines('/src/fixtures/pair_b.c', 1, 20),
      memory.breakpointLines('/src/fixtures/pair_b.c', 1, 20),
    );
    assert.deepEqual(store.warnings, []);
  });

  it('says what it could not read, and closes its files', () => {
    const { store, source } = lazyStore();
    source.read = () => {
      throw new Error('pair-v5.elf: the file has become shorter than 70000 bytes');
    };
    assert.equal(store.findSymbol('probe'), undefined);
    assert.match(store.warnings.join(), /the file has become shorter/);
    store.close();
    assert.equal(source.closed, 1);
  });
});

describe('symbols: tools for large files', () => {
  it('sorts by key, rank and place', () => {
    let state = 1;
    const random = (): number => (state = (Math.imul(state, 1103515245) + 12345) >>> 0);
    for (const length of [10, 5000]) {
      const keys = BigUint64Array.from({ length }, () => (BigInt(random() % 300) << 40n) | BigInt(random() % 3));
      const ranks = Uint8Array.from({ length }, () => random() % 4);
      const expected = Array.from(keys, (_, i) => i).sort((a, b) =>
        keys[a]! !== keys[b]! ? (keys[a]! < keys[b]! ? -1 : 1) : ranks[a]! - ranks[b]! || a - b,
      );
      assert.deepEqual([...atOnce(sortedOrder(keys, ranks))], expected);
    }
  });

  it('does shared work once, whoever goes on with it', () => {
    const log: number[] = [];
    const work = new SharedWork(function* () {
      for (let i = 0; i < 5; i++) {
        log.push(i);
        yield;
      }
    });
    const slow = work.run();
    slow.next();
    slow.next();
    atOnce(work.run());
    assert.ok(work.done);
    assert.deepEqual(log, [0, 1, 2, 3, 4]);
    assert.equal(slow.next().done, true);
  });
});
