import { strict as assert } from 'node:assert';
import { pagingMode, tableEntries, walk, type PagingRegisters } from '../../../emulator-core/mmu/pagingView';

/** Physical memory of 64-bit words; everything up to `end` reads as zero unless written. */
class Memory {
  private readonly words = new Map<bigint, bigint>();
  constructor(private readonly end = 1n << 40n) {}
  set(address: bigint, value: bigint): void {
    this.words.set(address, value);
  }
  set32(address: bigint, value: bigint): void {
    const at = address & ~7n;
    const shift = (address & 4n) * 8n;
    this.words.set(at, ((this.words.get(at) ?? 0n) & ~(0xffffffffn << shift)) | (value << shift));
  }
  read = (address: bigint): bigint | undefined =>
    address + 8n <= this.end ? (this.words.get(address) ?? 0n) : undefined;
}

const PG = 0x80000001n;
const legacy: PagingRegisters = { cr0: PG, cr3: 0x1000n, cr4: 0x10n, efer: 0n }; // PSE
const pae: PagingRegisters = { cr0: PG, cr3: 0x1020n, cr4: 0x20n, efer: 0x800n }; // PAE, NXE
const long: PagingRegisters = { cr0: PG, cr3: 0x1018n, cr4: 0x20n, efer: 0xd00n };
const long5: PagingRegisters = { ...long, cr4: 0x1020n };

// Entry formats: SDM Vol. 3A, figures and tables "Formats of CR3 and Paging-Structure Entries with ... Paging".
describe('guest paging view', () => {
  it('knows the mode', () => {
    assert.deepEqual([legacy, pae, long, long5].map(pagingMode), ['32-bit', 'PAE', '4-level', '5-level']);
    assert.equal(pagingMode({ ...long, cr0: 1n }), undefined);
  });

  it('paging off: the address itself', () => {
    const off = { ...legacy, cr0: 1n };
    assert.deepEqual(walk(off, new Memory().read, 0x12345n), {
      input: 0x12345n,
      entries: [],
      result: 0x12345n,
      fault: 'paging is off',
    });
    assert.deepEqual(tableEntries(off, new Memory().read), []);
  });

  it('4-level: combined permissions, flags, result', () => {
    const memory = new Memory();
    // 0xffffffff81234567: PML4 511, PDPT 510, PD 9, PT 0x34
    memory.set(0x1000n + 511n * 8n, 0x2000n | 0x7n);
    memory.set(0x2000n + 510n * 8n, 0x3000n | 0x23n);
    memory.set(0x3000n + 9n * 8n, 0x4000n | 0x21n); // not writable
    memory.set(0x4000n + 0x34n * 8n, 0x8000_0000_1234_5000n | 0x16bn); // XD G D A PCD=0 PWT R/W P
    const result = walk(long, memory.read, 0xffffffff81234567n);
    assert.equal(result.result, 0x12345567n);
    assert.equal(result.fault, undefined);
    assert.deepEqual(
      result.entries.map((e) => [e.level, e.index, e.permissions, e.accessed, e.dirty, e.leaf, e.flags.join(' ')]),
      [
        ['PML4E', 511, 'rwx', false, false, false, 'U'],
        ['PDPTE', 510, 'rwx', true, false, false, ''],
        ['PDE', 9, 'r-x', true, false, false, ''],
        ['PTE', 0x34, 'r--', true, true, true, 'PWT G XD'],
      ],
    );
    assert.equal(result.entries[0].address, 0xffffff8000000000n);
    assert.equal(result.entries[3].entryAddress, 0x41a0n);
    assert.equal(result.entries[3].target, 0x12345000n);
    assert.equal(result.entries[3].span, 0x1000n);

    const root = tableEntries(long, memory.read);
    assert.deepEqual(
      root.map((e) => [e.index, e.address, e.target]),
      [[511, 0xffffff8000000000n, 0x2000n]],
    );
    const table = { address: 0x4000n, level: 1, base: 0xffffffff81200000n };
    const [page] = tableEntries(long, memory.read, table);
    assert.equal(page.permissions, 'r--');
    assert.equal(page.address, 0xffffffff81234000n);
  });

  it('4-level: 2 MiB and 1 GiB pages, memory type from the PAT', () => {
    const memory = new Memory();
    memory.set(0x1000n, 0x2007n);
    memory.set(0x2000n, 0x3007n);
    memory.set(0x2008n, 0x4000_0000n | 0x83n); // 1 GiB
    memory.set(0x3000n, 0x20_0000n | 0x1000n | 0x83n); // 2 MiB, PAT bit 12
    memory.set(0x3008n, 0x40_0000n | 0x9bn); // PCD PWT
    const regs = { ...long, pat: 0x0007_0401_0007_0406n };
    const large = walk(regs, memory.read, 0x12345n);
    assert.equal(large.result, 0x212345n);
    assert.deepEqual([large.entries[2].memoryType, large.entries[2].flags], ['WC', ['PS', 'PAT']]);
    assert.equal(large.entries[2].span, 0x200000n);
    assert.equal(walk(regs, memory.read, 0x200000n).entries[2].memoryType, 'UC');
    const huge = walk(regs, memory.read, 0x7abcdef0n);
    assert.equal(huge.result, 0x7abcdef0n);
    assert.deepEqual([huge.entries[1].level, huge.entries[1].memoryType], ['PDPTE', 'WB']);
  });

  it('5-level and protection keys', () => {
    const memory = new Memory();
    memory.set(0x1000n + 8n, 0x2007n);
    memory.set(0x2000n, 0x3007n);
    memory.set(0x3000n, 0x4007n);
    memory.set(0x4000n, 0x5007n);
    memory.set(0x5000n, (5n << 59n) | 0x9007n);
    const result = walk({ ...long5, cr4: long5.cr4 | (1n << 22n) }, memory.read, 0x1000000000abcn);
    assert.equal(result.result, 0x9abcn);
    assert.deepEqual(
      result.entries.map((e) => e.level),
      ['PML5E', 'PML4E', 'PDPTE', 'PDE', 'PTE'],
    );
    assert.deepEqual(result.entries[4].flags, ['U', 'PK=5']);
    assert.deepEqual(walk(long5, memory.read, 0x1000000000abcn).entries[4].flags, ['U']);
    assert.equal(walk(long, memory.read, 0x1000000000abcn).fault, 'non-canonical address');
  });

  it('PAE: four PDPTEs without rights, XD', () => {
    const memory = new Memory();
    memory.set(0x1020n + 24n, 0x2001n);
    memory.set(0x2000n, 0x3003n);
    memory.set(0x3008n, 0x8000_0000_0000_7003n);
    memory.set(0x2008n, 0x40_0083n);
    const result = walk(pae, memory.read, 0xc0001234n);
    assert.equal(result.result, 0x7234n);
    assert.deepEqual(
      result.entries.map((e) => [e.level, e.index, e.permissions]),
      [
        ['PDPTE', 3, 'rwx'],
        ['PDE', 0, 'rwx'],
        ['PTE', 1, 'rw-'],
      ],
    );
    assert.equal(walk(pae, memory.read, 0xc0212345n).result, 0x412345n);
    assert.equal(tableEntries(pae, memory.read).length, 1);
    assert.equal(walk(pae, memory.read, 0x1_0000_0000n).fault, 'beyond 32 bits');
    assert.equal(walk({ ...pae, efer: 0n }, memory.read, 0xc0001234n).fault, 'PTE has reserved bits set');
  });

  it('32-bit: 4 KiB and 4 MiB pages, PSE-36', () => {
    const memory = new Memory();
    memory.set32(0x1000n + 4n, 0x2007n); // PDE 1
    memory.set32(0x2000n + 4n * 3n, 0x5065n); // PTE 3: read-only user, accessed and dirty
    memory.set32(0x1000n + 4n * 768n, 0x0080_0000n | (1n << 13n) | 0x83n); // 4 MiB at 0x1_0080_0000
    const page = walk(legacy, memory.read, 0x403456n);
    assert.equal(page.result, 0x5456n);
    assert.deepEqual(
      page.entries.map((e) => [e.level, e.index, e.permissions, e.flags.join(' ')]),
      [
        ['PDE', 1, 'rwx', 'U'],
        ['PTE', 3, 'r-x', 'U'],
      ],
    );
    assert.equal(page.entries[1].entryAddress, 0x200cn);
    assert.equal(walk(legacy, memory.read, 0xc0123456n).result, 0x100923456n);
    assert.deepEqual(
      tableEntries(legacy, memory.read).map((e) => e.index),
      [1, 768],
    );
    // Without CR4.PSE, bit 7 of a PDE is ignored.
    assert.match(walk({ ...legacy, cr4: 0n }, memory.read, 0xc0123456n).fault ?? '', /PTE not present/);
  });

  it('faults: not present, reserved bits, tables outside memory', () => {
    const memory = new Memory(0x10000n);
    assert.equal(walk(long, memory.read, 0n).fault, 'PML4E not present');
    memory.set(0x1000n, 0x2007n);
    memory.set(0x2000n, 0x3003n);
    memory.set(0x3000n, 0x20_2083n); // bit 13 of a 2 MiB page is reserved
    assert.equal(walk(long, memory.read, 0n).fault, 'PDE has reserved bits set');
    memory.set(0x3000n, 0xffff_f000n | 3n);
    const outside = walk(long, memory.read, 0n);
    assert.equal(outside.fault, 'PTE at 0xfffff000 is outside memory');
    assert.equal(outside.result, undefined);
    assert.deepEqual(tableEntries(long, memory.read, { address: 0xfffff000n, level: 1, base: 0n }), []);
    assert.deepEqual(tableEntries(long, memory.read, { address: 0x1000n, level: 7, base: 0n }), []);
  });

  it('5-level: the root is a PML5 table, addresses have 57 bits', () => {
    const memory = new Memory();
    memory.set(0x1000n + 0x1abn * 8n, 0x2003n);
    memory.set(0x2000n + 511n * 8n, 0x3003n);
    memory.set(0x3000n, 0x4000_0083n);
    const address = BigInt.asUintN(64, BigInt.asIntN(57, (0x1abn << 48n) | (511n << 39n) | 0x1234n));
    const result = walk(long5, memory.read, address);
    assert.equal(result.result, 0x40001234n);
    assert.deepEqual(
      result.entries.map(({ level, index, span }) => [level, index, span]),
      [
        ['PML5E', 0x1ab, 1n << 48n],
        ['PML4E', 511, 1n << 39n],
        ['PDPTE', 0, 1n << 30n],
      ],
    );
    assert.equal(walk(long5, memory.read, 1n << 57n).fault, 'non-canonical address');
    assert.equal(walk({ ...long5, hugePages: false }, memory.read, address).fault, 'PDPTE has reserved bits set');
  });

  it('protection keys and what PKRU denies', () => {
    const memory = new Memory();
    memory.set(0x1000n, 0x2007n);
    memory.set(0x2000n, 0x3007n);
    for (const [i, key] of [0n, 5n, 6n].entries()) memory.set(0x3000n + BigInt(i) * 8n, (key << 59n) | 0x87n);
    const flags = (regs: PagingRegisters) =>
      tableEntries(regs, memory.read, { address: 0x3000n, level: 2, base: 0n }).map((e) => e.flags.join(' '));
    const keyed = { ...long, cr4: 0x400020n };
    assert.deepEqual(flags(long), ['U PS', 'U PS', 'U PS']);
    assert.deepEqual(flags(keyed), ['U PS', 'U PS PK=5', 'U PS PK=6']);
    assert.deepEqual(flags({ ...keyed, pkru: 0x2c01n }), ['U PS PK=0 AD', 'U PS PK=5 AD WD', 'U PS PK=6 WD']);
  });

  it('a PAE root as the processor loaded it', () => {
    const memory = new Memory();
    memory.set(0x1020n, 0n);
    memory.set(0x5000n, 0x87n);
    const loaded = { ...pae, pointers: [0x5001n, 0n, 0n, 0n] };
    assert.equal(walk(pae, memory.read, 0x123n).fault, 'PDPTE not present');
    assert.equal(walk(loaded, memory.read, 0x123n).result, 0x123n);
    assert.equal(tableEntries(loaded, memory.read).length, 1);
  });

  it('reserved bits by the physical-address width and PSE-36', () => {
    const memory = new Memory();
    memory.set(0x1000n, (1n << 45n) | 0x2007n);
    assert.equal(walk({ ...long, maxPhysicalAddress: 40 }, memory.read, 0n).fault, 'PML4E has reserved bits set');
    const small = new Memory();
    small.set32(0x1000n, 0x2083n);
    assert.equal(walk(legacy, small.read, 0n).result, 1n << 32n);
    assert.equal(walk({ ...legacy, pse36: false }, small.read, 0n).fault, 'PDE has reserved bits set');
  });
});
