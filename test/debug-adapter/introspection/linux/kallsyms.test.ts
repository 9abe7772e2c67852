import assert from 'node:assert/strict';
import { findKallsyms, KallsymsError, type Kallsyms } from '../../../../debug-adapter/introspection/linux/kallsyms';
import { KernelSymbols } from '../../../../debug-adapter/introspection/linux/kernelSymbols';
import { atOnce, inSlices } from '../../../../debug-adapter/introspection/slices';
import { buildKallsyms, LAYOUTS, testSymbols } from './kallsymsBuilder';

const COUNT = 3000;

describe('kallsyms', () => {
  for (const [name, layout] of Object.entries(LAYOUTS)) {
    it(`finds and decodes the table of ${name}`, () => {
      const symbols = testSymbols(COUNT, layout);
      const { data, address, baseAt } = buildKallsyms(symbols, layout);
      const found = atOnce(findKallsyms(data, { wide: layout.wide, address }));
      assert.equal(found.count, COUNT);
      assert.deepEqual(found.names, symbols.map((symbol) => symbol.name)); // prettier-ignore
      assert.equal(found.types, symbols.map((symbol) => symbol.type).join(''));
      assert.deepEqual([...found.addresses], symbols.map((symbol) => symbol.address)); // prettier-ignore
      assert.equal(found.base?.at, baseAt);
      if (baseAt !== undefined) assert.equal(found.base!.value, symbols.find(({ perCpu }) => !perCpu)!.address);
    });
  }

  it('finds the table wherever the number of symbols leaves padding', () => {
    const layout = LAYOUTS['6.4, 64 bits'];
    for (let count = 1020; count < 1030; count++) {
      const symbols = testSymbols(count, layout);
      const { data, address } = buildKallsyms(symbols, layout, 8 * (count % 7));
      assert.equal(atOnce(findKallsyms(data, { wide: true, address })).names[count - 1], '_end');
    }
  });

  it('passes by a token table whose index does not agree, and says what it expected', () => {
    const layout = LAYOUTS['6.4, 64 bits'];
    const { data, address } = buildKallsyms(testSymbols(COUNT, layout), layout);
    const digits = data.findIndex((_, i) => [0, 1, 2, 3].every((d) => data[i + 2 * d] === 0x30 + d && !data[i + 2 * d + 1])); // prettier-ignore
    data[digits + 21]++;
    data[digits + 1] = 0x31;
    assert.throws(() => atOnce(findKallsyms(data, { wide: true, address })), {
      name: 'KallsymsError',
      message: /^kallsyms: expected a token table with the strings "0" to "9" and its index in \d+ bytes$/,
    });
  });

  it('says that addresses are missing when they do not ascend', () => {
    const layout = LAYOUTS['6.4, 64 bits'];
    const symbols = testSymbols(COUNT, layout);
    symbols[2000] = { ...symbols[2000], address: symbols[2].address };
    const { data, address } = buildKallsyms(symbols, layout);
    assert.throws(
      () => atOnce(findKallsyms(data, { wide: true, address })),
      /found the names of 3000 symbols, but no ascending addresses before or behind them/,
    );
  });

  it('survives damage of any kind', () => {
    const layout = LAYOUTS['5.10, 64 bits'];
    const { data, address } = buildKallsyms(testSymbols(600, layout), layout, 64);
    let seed = 7;
    const random = (below: number): number => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % below;
    let refused = 0;
    for (let round = 0; round < 300; round++) {
      const damaged = data.slice(0, round % 3 === 0 ? 1 + random(data.length) : data.length);
      for (let i = random(20); i >= 0; i--) damaged[random(damaged.length)] = random(256);
      try {
        assert.ok(atOnce(findKallsyms(damaged, { wide: true, address })).count <= 600);
      } catch (error) {
        assert.ok(error instanceof KallsymsError, String(error));
        refused++;
      }
    }
    assert.ok(refused > 100);
  });

  it('refuses memory that is full of digits without end', () => {
    const data = new Uint8Array(200_000);
    for (let i = 0; i < data.length; i += 2) data[i] = 0x30 + ((i / 2) % 10);
    assert.throws(() => atOnce(findKallsyms(data, { wide: true, address: 0n })), KallsymsError);
  });

  it('lets others have their turn', async () => {
    const layout = LAYOUTS['6.4, 64 bits'];
    const { data, address } = buildKallsyms(testSymbols(COUNT, layout), layout);
    const work = findKallsyms(data, { wide: true, address });
    let yields = 0;
    while (!work.next().done) yields++;
    assert.ok(yields >= 3, `${yields} yields`);
    assert.equal((await inSlices(findKallsyms(data, { wide: true, address }))).count, COUNT);
  });
});

describe('symbols of a kernel', () => {
  const text = 0xffffffff81000000n;
  const rows: [string, string, bigint][] = [
    ['A', 'current_task', 0x1fb80n],
    ['T', '_text', text],
    ['T', 'startup_64', text],
    ['t', 'twice', text + 0x100n],
    ['T', 'middle', text + 0x180n],
    ['T', 'twice', text + 0x200n],
    ['D', 'linux_banner', text + 0x1000n],
    ['B', '_end', text + 0x2000n],
  ];
  const table: Kallsyms = {
    count: rows.length,
    types: rows.map(([type]) => type).join(''),
    names: rows.map(([, name]) => name),
    addresses: BigUint64Array.from(rows, ([, , address]) => address),
  };
  const OFFSET = 0x16400000n;
  const make = (offset = 0n): KernelSymbols => {
    const symbols = new KernelSymbols(table, 'a test');
    symbols.offset = offset;
    return symbols;
  };

  it('names an address by the symbol below it, of several at one place the first', () => {
    const symbols = make();
    assert.deepEqual(symbols.symbolAt(text + 0x185n), {
      name: 'middle',
      address: text + 0x180n,
      size: 0x80n,
      offset: 5n,
      kind: 'function',
    });
    assert.equal(symbols.symbolAt(text)!.name, '_text');
    assert.equal(symbols.symbolAt(text + 0x10n)!.name, '_text');
    assert.equal(symbols.symbolAt(text + 0x1001n)!.kind, 'object');
  });

  it('names nothing outside of the image, nor by offsets of per-CPU data', () => {
    const symbols = make();
    for (const address of [0n, 0x1fb80n, 0x1fb88n, text - 1n, text + 0x2001n, 0x47b5e1n, 0xffffffffffffffffn])
      assert.equal(symbols.symbolAt(address), undefined, address.toString(16));
    assert.equal(symbols.symbolAt(text + 0x2000n)!.name, '_end');
    assert.equal(symbols.find('current_task')!.address, 0x1fb80n);
  });

  it('moves with KASLR, but for per-CPU offsets', () => {
    const symbols = make(OFFSET);
    assert.equal(symbols.symbolAt(text + 0x185n), undefined);
    assert.equal(symbols.symbolAt(text + 0x185n + OFFSET)!.address, text + 0x180n + OFFSET);
    assert.equal(symbols.find('linux_banner')!.address, text + 0x1000n + OFFSET);
    assert.equal(symbols.find('current_task')!.address, 0x1fb80n);
  });

  it('finds all symbols of a name, a global one first', () => {
    const symbols = make();
    assert.deepEqual(
      symbols.findAll('twice').map(({ address, global }) => [address - text, global]),
      [[0x100n, false], [0x200n, true]], // prettier-ignore
    );
    assert.equal(symbols.find('twice')!.address, text + 0x200n);
    assert.equal(symbols.find('none'), undefined);
    assert.deepEqual(symbols.complete('t', 5), ['twice']);
    assert.deepEqual(symbols.complete('', 2), ['_end', '_text']);
  });
});
