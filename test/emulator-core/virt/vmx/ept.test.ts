import { strict as assert } from 'node:assert';
import { Ept, EptAccess, EptStatus, MemoryType } from '../../../../emulator-core/virt/vmx/ept';

// Entry formats: SDM Vol. 3C, section "EPT Translation Mechanism", tables "Format of an EPT ... Entry".
describe('EPT', () => {
  const SIZE = 64 << 20;
  const TABLES = 0x1000;
  const GUEST = 0x1000000; // host-physical start of guest memory, 2 MiB aligned
  let view: DataView;
  let next: number;
  let ept: Ept;

  const entry = (address: number) => view.getBigUint64(address, true);
  const set = (address: number, value: bigint) => view.setBigUint64(address, value, true);
  const status = (gpa: number, access: number) => ept.translate(gpa, access);

  beforeEach(() => {
    view = new DataView(new ArrayBuffer(SIZE));
    next = TABLES;
    ept = new Ept(view, () => {
      if (next >= TABLES + 32 * 4096) throw new Error('no more EPT pages');
      return (next += 4096) - 4096;
    });
  });

  it('EPTP: write-back, page-walk length 4, A/D enabled', () => {
    assert.equal(ept.eptp, BigInt(TABLES) | 6n | (3n << 3n) | (1n << 6n));
  });

  it('maps with 2 MiB leaves where aligned, 4 KiB elsewhere', () => {
    ept.map(0, GUEST, 0x200000 + 0x3000);
    // PML4E -> PDPTE -> PDE 0 leaf: R W X, type 6 in 5:3, bit 7; bit 52 is ignored by the processor.
    const pd = TABLES + 0x2000;
    assert.equal(entry(TABLES) & 0xfffffffffffffn, BigInt(TABLES + 0x1000) | 7n);
    assert.equal(entry(pd) & 0xfffffffffffffn, BigInt(GUEST) | 7n | (6n << 3n) | 0x80n);
    const pt = Number(entry(pd + 8) & 0xfffff000n);
    assert.equal(entry(pt + 16) & 0xfffffffffffffn, BigInt(GUEST + 0x202000) | 7n | (6n << 3n));
    assert.equal(entry(pt + 24), 0n);

    assert.equal(status(0x12345, EptAccess.read), EptStatus.ok);
    assert.equal(ept.result.hpa, GUEST + 0x12345);
    assert.equal(ept.result.leafSize, 0x200000);
    assert.equal(ept.result.memoryType, MemoryType.WB);
    assert.equal(status(0x202fff, EptAccess.execute), EptStatus.ok);
    assert.equal(ept.result.hpa, GUEST + 0x202fff);
    assert.equal(ept.result.leafSize, 0x1000);
    assert.equal(status(0x203000, EptAccess.read), EptStatus.violation);
    assert.equal(ept.result.permissions, 0);
  });

  it('maps high guest-physical addresses and refuses those beyond 48 bits', () => {
    const gpa = 0xabcde12345000;
    assert.throws(() => ept.map(gpa, GUEST, 0x1000), RangeError);
    ept.map(0x7f8fedcba000, GUEST, 0x1000);
    assert.equal(status(0x7f8fedcba123, EptAccess.write), EptStatus.ok);
    assert.equal(ept.result.hpa, GUEST + 0x123);
    assert.equal(status(gpa, EptAccess.read), EptStatus.violation);
  });

  it('sets accessed flags on the way, and dirty in the leaf for writes only', () => {
    // SDM Vol. 3C, "Accessed and Dirty Flags for EPT": accessed bit 8, dirty bit 9.
    ept.map(0, GUEST, 0x1000);
    const chain = [TABLES, TABLES + 0x1000, TABLES + 0x2000, TABLES + 0x3000];
    ept.walk(0, EptAccess.write);
    assert.deepEqual(
      chain.map((a) => Number(entry(a) & 0x300n)),
      [0, 0, 0, 0],
    );
    status(0, EptAccess.read);
    assert.deepEqual(
      chain.map((a) => Number(entry(a) & 0x300n)),
      [0x100, 0x100, 0x100, 0x100],
    );
    status(0, EptAccess.read | EptAccess.write);
    assert.deepEqual(
      chain.map((a) => Number(entry(a) & 0x300n)),
      [0x100, 0x100, 0x100, 0x300],
    );
  });

  it('a refused access is a violation with the permissions of all levels together and leaves the flags alone', () => {
    ept.map(0, GUEST, 0x1000, EptAccess.read | EptAccess.write);
    set(TABLES + 0x2000, entry(TABLES + 0x2000) & ~2n); // PDE not writable
    assert.equal(status(0, EptAccess.write), EptStatus.violation);
    assert.equal(ept.result.permissions, EptAccess.read);
    assert.equal(status(0, EptAccess.execute), EptStatus.violation);
    assert.equal(Number(entry(TABLES + 0x3000) & 0x300n), 0);
    assert.deepEqual(ept.walk(0, EptAccess.write), {
      kind: 'violation',
      permissions: 1,
      entryAddress: TABLES + 0x3000,
    });
  });

  it('splits a large leaf to change part of it and gives permissions back', () => {
    ept.map(0, GUEST, 0x400000);
    status(0x5000, EptAccess.write); // accessed and dirty in the large leaf
    ept.setPermissions(0x5000, 0x1000, 0);
    assert.equal(status(0x5000, EptAccess.read), EptStatus.violation);
    assert.equal(ept.result.permissions, 0);
    assert.equal(status(0x4fff, EptAccess.write), EptStatus.ok);
    assert.equal(ept.result.leafSize, 0x1000);
    assert.equal(ept.result.hpa, GUEST + 0x4fff);
    assert.equal(status(0x6000, EptAccess.execute), EptStatus.ok);
    assert.equal(status(0x200000, EptAccess.read), EptStatus.ok);
    assert.equal(ept.result.leafSize, 0x200000);
    const pt = Number(entry(TABLES + 0x2000) & 0xfffff000n);
    assert.equal(entry(pt) & 0x300n, 0x300n, 'small entries keep A and D');
    ept.setPermissions(0x5000, 0x1000, EptAccess.read);
    assert.equal(status(0x5001, EptAccess.read), EptStatus.ok);
    assert.equal(ept.result.hpa, GUEST + 0x5001);
    ept.setPermissions(0, 0x200000, 0);
    ept.setPermissions(0, 0x200000, 7);
    assert.equal(status(0x1ff000, EptAccess.write), EptStatus.ok);
  });

  it('takes permissions of a whole large leaf away without splitting, and back', () => {
    ept.map(0, GUEST, 0x200000);
    ept.setPermissions(0, 0x200000, 0);
    const used = next;
    assert.equal(status(0x1000, EptAccess.read), EptStatus.violation);
    assert.equal(ept.entries({ address: BigInt(TABLES + 0x2000), level: 2, base: 0n }).length, 1);
    ept.setPermissions(0, 0x200000, 7);
    assert.equal(status(0x1000, EptAccess.read), EptStatus.ok);
    assert.equal(next, used);
    // Mapping a page inside a leaf without permissions splits it too.
    ept.setPermissions(0, 0x200000, 0);
    ept.map(0x3000, GUEST + 0x100000, 0x1000);
    assert.equal(status(0x3000, EptAccess.read), EptStatus.ok);
    assert.equal(status(0x2000, EptAccess.read), EptStatus.violation);
  });

  it('unmaps, splitting what reaches outside; maps again into existing tables', () => {
    ept.map(0, GUEST, 0x200000);
    ept.unmap(0xa0000, 0x20000);
    assert.equal(status(0xa0000, EptAccess.read), EptStatus.violation);
    assert.equal(status(0xbffff, EptAccess.read), EptStatus.violation);
    assert.equal(status(0x9ffff, EptAccess.read), EptStatus.ok);
    assert.equal(status(0xc0000, EptAccess.read), EptStatus.ok);
    ept.setPermissions(0xa0000, 0x1000, 7);
    assert.equal(status(0xa0000, EptAccess.read), EptStatus.violation, 'what is not mapped stays unmapped');
    const used = next;
    ept.map(0, GUEST + 0x200000, 0x200000, 7, MemoryType.UC);
    assert.equal(next, used);
    assert.equal(status(0xa0010, EptAccess.read), EptStatus.ok);
    assert.equal(ept.result.hpa, GUEST + 0x2a0010);
    assert.equal(ept.result.memoryType, MemoryType.UC);
    ept.unmap(0, 2 ** 47);
    assert.equal(status(0x1000, EptAccess.read), EptStatus.violation);
  });

  it('finds misconfigurations', () => {
    // SDM Vol. 3C, "EPT Misconfigurations".
    ept.map(0, GUEST, 0x201000);
    const pd = TABLES + 0x2000;
    const pt = Number(entry(pd + 8) & 0xfffff000n);
    const bad = (address: number, value: bigint, gpa: number) => {
      const old = entry(address);
      set(address, value);
      assert.equal(status(gpa, EptAccess.read), EptStatus.misconfig, `0x${value.toString(16)}`);
      assert.equal(ept.result.entryAddress, address);
      assert.equal(ept.walk(gpa, EptAccess.read).kind, 'misconfig');
      set(address, old);
      assert.equal(status(gpa, EptAccess.read), EptStatus.ok);
    };
    const page = BigInt(GUEST);
    bad(pt, page | 0x32n, 0x200000); // bits 1:0 = 10
    bad(pt, page | 0x36n, 0x200000); // bits 2:0 = 110
    for (const type of [2n, 3n, 7n]) bad(pt, page | 7n | (type << 3n), 0x200000);
    bad(pt, page | 0x37n | (1n << 40n), 0x200000); // beyond the physical-address width
    bad(pt, page | 0x37n | (1n << 51n), 0x200000);
    bad(pd, page | 0xb7n | 0x1000n, 0); // bits 20:12 of a 2 MiB leaf
    bad(pd + 8, entry(pd + 8) | 8n, 0x200000); // bits 6:3 of an entry that refers to a table
    bad(TABLES, entry(TABLES) | 0x80n, 0); // bit 7 of a PML4E
    bad(TABLES + 0x1000, 0x2000b7n, 0); // bits 29:12 of a 1 GiB leaf
    // Execute-only is a capability of this processor, not an error.
    set(pt, page | 0x34n);
    assert.equal(status(0x200000, EptAccess.execute), EptStatus.ok);
    assert.equal(status(0x200000, EptAccess.read), EptStatus.violation);
  });

  it('walks 1 GiB leaves', () => {
    ept.map(0, GUEST, 0x1000);
    set(TABLES + 0x1000, 0xb7n);
    assert.equal(status(0x3456789 - (0x3456789 % 8), EptAccess.read), EptStatus.ok);
    assert.equal(ept.result.leafSize, 0x40000000);
    assert.equal(ept.result.hpa, 0x3456788);
  });

  it('never follows an entry out of host memory', () => {
    ept.map(0, GUEST, 0x1000);
    set(TABLES + 0x2000, 0xff_ffff_f007n);
    assert.equal(status(0, EptAccess.read), EptStatus.misconfig);
    assert.equal(ept.walk(0, EptAccess.read).kind, 'misconfig');
    assert.match(ept.describeWalk(0).fault ?? '', /EPT PDE misconfigured/);
    set(TABLES + 0x2000, BigInt(TABLES + 0x3000) | 7n);
    set(TABLES + 0x3000, 0xff_ffff_f037n);
    assert.equal(status(0, EptAccess.read), EptStatus.misconfig);
    assert.deepEqual(ept.entries({ address: 0xff_ffff_f000n, level: 1, base: 0n }), []);
    assert.deepEqual(ept.entries({ address: 0x1000n, level: 9, base: 0n }), []);
  });

  it('refuses ranges that are not pages, and lets exhaustion through', () => {
    assert.throws(() => ept.map(0x123, GUEST, 0x1000), /EPT: guest-physical range/);
    assert.throws(() => ept.map(0, GUEST, 0x800), RangeError);
    assert.throws(() => ept.map(0, SIZE, 0x1000), /EPT: host memory/);
    assert.throws(() => ept.map(0, GUEST, 0x1000, 7, 3), /memory type 3/);
    assert.throws(() => ept.unmap(-4096, 4096), RangeError);
    assert.throws(() => {
      for (let gpa = 0; ; gpa += 2 ** 39) ept.map(gpa % 2 ** 47, GUEST, 0x1000);
    }, /no more EPT pages/);
  });

  it('shows tables and walks for the debugger', () => {
    ept.map(0x200000, GUEST, 0x200000, EptAccess.read | EptAccess.execute);
    status(0x200000, EptAccess.read);
    const [root] = ept.entries();
    assert.deepEqual(
      [root.level, root.index, root.leaf, root.target, root.span],
      ['EPT PML4E', 0, false, BigInt(TABLES + 0x1000), 1n << 39n],
    );
    const walk = ept.describeWalk(0x2abcden);
    assert.deepEqual(
      walk.entries.map((e) => [e.level, e.index, e.permissions, e.accessed, e.dirty]),
      [
        ['EPT PML4E', 0, 'rwx', true, false],
        ['EPT PDPTE', 0, 'rwx', true, false],
        ['EPT PDE', 1, 'r-x', true, false],
      ],
    );
    assert.deepEqual([walk.entries[2].memoryType, walk.entries[2].flags], ['WB', ['PS']]);
    assert.equal(walk.entries[2].address, 0x200000n);
    assert.equal(walk.result, BigInt(GUEST + 0xabcde));
    assert.equal(ept.describeWalk(0).fault, 'EPT PDE not present');
    assert.equal(ept.describeWalk(0).result, undefined);
    assert.match(ept.describeWalk(1n << 50n).fault ?? '', /48 bits/);
  });
});
