/** Paging through the running machine: permissions, error codes, accessed and dirty flags. SDM Vol. 3A, chapter "Paging". */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr0, Cr4, Efer, Flag } from '../../../emulator-core/cpu/vcpu';
import { TestMachine } from '../testMachine';

const CODE = 0x100000;
const TABLE = 0xd000;
const AREA = 0x400000;
const P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80; // prettier-ignore
const NX = 1n << 63n;
type Scheme = '32-bit' | 'PAE' | '4-level';

/** AREA in 4 KiB pages through TABLE, everything else identity-mapped for all. */
function machine(scheme: Scheme, cpl: 0 | 3 = 0): TestMachine {
  const t = new TestMachine().enter(scheme === '4-level' ? '64' : '32', cpl);
  const { cpu } = t;
  if (scheme === '4-level') t.write64(0x3000 + 2 * 8, BigInt(TABLE | P | W | U));
  else if (scheme === 'PAE') {
    t.write64(0x1000, BigInt(0x2000 | P));
    for (let i = 0; i < 8; i++) t.write64(0x2000 + i * 8, BigInt((i * 0x200000) | P | W | U | PS));
    t.write64(0x2000 + 2 * 8, BigInt(TABLE | P | W | U));
    cpu.set64(State.cr4, BigInt(Cr4.PAE));
    cpu.set64(State.efer, BigInt(Efer.NXE));
    t.machine.loadPointers(cpu, 0x1000);
  } else {
    for (let i = 0; i < 4; i++) t.write32(0x1000 + i * 4, (i * 0x400000) | P | W | U | PS);
    t.write32(0x1000 + 4, TABLE | P | W | U);
    cpu.set64(State.cr4, BigInt(Cr4.PSE));
  }
  cpu.set64(State.cr0, BigInt((cpu.cr0 | Cr0.PG) >>> 0));
  cpu.modeChanged();
  t.machine.core.flushAllTranslations();
  return t;
}
function entry(t: TestMachine, scheme: Scheme, page: number, value: bigint | number): void {
  if (scheme === '32-bit') t.write32(TABLE + page * 4, Number(value));
  else t.write64(TABLE + page * 8, BigInt(value));
}
const page = (n: number): number => AREA + n * 4096;
/** Error code of the #PF, or undefined when none came. CR2 is checked. */
function errorOf(t: TestMachine, address = page(0)): number | undefined {
  if (t.vector !== 14) return undefined;
  assert.strictEqual(Number(t.cpu.get64(State.cr2)), address);
  return t.read32(Number(t.get('rsp')));
}

const READ = '8b03';
const WRITE = '8903';
const JUMP = 'ffe3';

interface Case {
  what: string;
  entry: bigint | number;
  code: string;
  cpl?: 0 | 3;
  cr4?: number;
  cr0?: number;
  flags?: number;
  efer?: number;
  want?: number;
  only?: Scheme[];
}
const NX_SCHEMES: Scheme[] = ['PAE', '4-level'];
const CASES: Case[] = [
  { what: 'read, not present', entry: 0, code: READ, want: 0 },
  { what: 'write, not present', entry: 0, code: WRITE, want: 2 },
  { what: 'user read, not present', entry: 0, code: READ, cpl: 3, want: 4 },
  { what: 'user write, not present', entry: 0, code: WRITE, cpl: 3, want: 6 },
  { what: 'fetch, not present, without NXE', entry: 0, code: JUMP, want: 0, only: ['32-bit'] },
  { what: 'fetch, not present, with NXE', entry: 0, code: JUMP, want: 0x10, only: NX_SCHEMES },
  { what: 'user read of a supervisor page', entry: P | W, code: READ, cpl: 3, want: 5 },
  { what: 'user write of a supervisor page', entry: P | W, code: WRITE, cpl: 3, want: 7 },
  { what: 'user write of a read-only page', entry: P | U, code: WRITE, cpl: 3, want: 7 },
  { what: 'user read of a read-only page', entry: P | U, code: READ, cpl: 3 },
  { what: 'supervisor write of a read-only page with WP', entry: P, code: WRITE, want: 3 },
  { what: 'supervisor write of a read-only page without WP', entry: P, code: WRITE, cr0: 0 },
  { what: 'fetch of an NX page', entry: BigInt(P | W) | NX, code: JUMP, want: 0x11, only: NX_SCHEMES },
  { what: 'user fetch of an NX page', entry: BigInt(P | W | U) | NX, code: JUMP, cpl: 3, want: 0x15, only: NX_SCHEMES },
  { what: 'read of an NX page', entry: BigInt(P | W) | NX, code: READ, only: NX_SCHEMES },
  {
    what: 'NX without NXE is a reserved bit',
    entry: BigInt(P | W) | NX,
    code: READ,
    efer: Efer.LME | Efer.LMA,
    want: 9,
    only: ['4-level'],
  },
  { what: 'a reserved address bit', entry: BigInt(P | W) | (1n << 51n), code: WRITE, want: 0xb, only: NX_SCHEMES },
  { what: 'SMEP: supervisor fetch of a user page', entry: P | U, code: JUMP, cr4: Cr4.SMEP, want: 0x11 },
  { what: 'SMEP: user fetch of a user page', entry: P | U, code: JUMP, cpl: 3, cr4: Cr4.SMEP },
  { what: 'SMAP: supervisor read of a user page', entry: P | U | W, code: READ, cr4: Cr4.SMAP, want: 1 },
  { what: 'SMAP: supervisor write of a user page', entry: P | U | W, code: WRITE, cr4: Cr4.SMAP, want: 3 },
  { what: 'SMAP: allowed with AC', entry: P | U | W, code: WRITE, cr4: Cr4.SMAP, flags: Flag.AC },
  { what: 'SMAP: user access', entry: P | U | W, code: WRITE, cpl: 3, cr4: Cr4.SMAP },
];

for (const scheme of ['32-bit', 'PAE', '4-level'] as const) {
  describe(`${scheme} paging`, () => {
    for (const c of CASES) {
      if (c.only && !c.only.includes(scheme)) continue;
      it(`${c.what}: ${c.want === undefined ? 'no fault' : `error code ${c.want.toString(16)}h`}`, () => {
        const t = machine(scheme, c.cpl);
        const { cpu } = t;
        // Everything but the tested page is a supervisor page while SMEP and SMAP are on.
        const user = c.cpl === 3 ? U : 0;
        if (c.cr4 && !user) {
          const clear = (at: number): void => t.write32(at, t.read32(at) & ~U);
          if (scheme === '4-level') for (let i = 0; i < 8; i++) if (i !== 2) clear(0x3000 + i * 8);
          if (scheme === 'PAE') for (let i = 0; i < 8; i++) if (i !== 2) clear(0x2000 + i * 8);
          if (scheme === '32-bit') for (const i of [0, 2, 3]) clear(0x1000 + i * 4);
        }
        entry(t, scheme, 0, BigInt(c.entry) ? BigInt(c.entry) | BigInt(AREA) : 0n);
        cpu.set64(State.cr4, BigInt(cpu.cr4 | (c.cr4 ?? 0)));
        if (c.cr0 === 0) cpu.set64(State.cr0, BigInt((cpu.cr0 & ~Cr0.WP) >>> 0));
        if (c.efer !== undefined) cpu.set64(State.efer, BigInt(c.efer));
        cpu.rflags = 2 | (c.flags ?? 0);
        cpu.modeChanged();
        t.machine.core.flushAllTranslations();
        t.write(AREA, [0x90, 0x90, 0x90]);
        t.run(CODE, c.code, { rbx: AREA, rsp: 0x9000 }, 2);
        assert.strictEqual(errorOf(t), c.want);
      });
    }

    it('a read sets the accessed flag of each level, a write the dirty flag of the leaf', () => {
      const t = machine(scheme);
      entry(t, scheme, 0, AREA | P | W | U);
      t.run(CODE, READ, { rbx: AREA });
      const size = scheme === '32-bit' ? 4 : 8;
      const upper = scheme === '32-bit' ? 0x1004 : scheme === 'PAE' ? 0x2010 : 0x3010;
      assert.strictEqual(t.read32(TABLE) & 0xfff, P | W | U | A);
      assert.strictEqual(t.read32(upper) & 0xfff, P | W | U | A);
      if (scheme === '4-level') assert.strictEqual(t.read32(0x1000) & A, A);
      t.run(CODE, WRITE, { rbx: AREA });
      assert.strictEqual(t.read32(TABLE) & 0xfff, P | W | U | A | D, 'after a read hit: the first write still sets it');
      assert.strictEqual(t.read32(upper) & D, 0);
      assert.strictEqual(t.read32(TABLE + size) & A, 0);
    });

    it('a store across a page end whose second page faults writes nothing', () => {
      const t = machine(scheme);
      entry(t, scheme, 0, AREA | P | W | U);
      entry(t, scheme, 1, 0);
      t.write32(page(1) - 4, 0x11111111);
      t.run(CODE, WRITE, { rbx: page(1) - 2, rax: 0xabcdef01 });
      assert.strictEqual(errorOf(t, page(1)), 2);
      assert.strictEqual(t.read32(page(1) - 4), 0x11111111);
      // Read-modify-write, push and a load, too.
      const u = machine(scheme);
      entry(u, scheme, 0, AREA | P | W | U);
      u.write32(page(1) - 4, 0x11111111);
      u.run(CODE, '0103', { rbx: page(1) - 1, rax: 1, rsp: 0x9000 });
      assert.strictEqual(errorOf(u, page(1)), 2);
      assert.strictEqual(u.read32(page(1) - 4), 0x11111111);
      assert.strictEqual(
        errorOf(machineWithHalf(scheme).run(CODE, READ, { rbx: page(1) - 3, rsp: 0x9000 }), page(1)),
        0,
      );
    });

    it('a store across two mapped pages lands in both', () => {
      const t = machine(scheme);
      entry(t, scheme, 0, (AREA + 0x3000) | P | W | U);
      entry(t, scheme, 1, (AREA + 0x6000) | P | W | U);
      t.run(CODE, WRITE, { rbx: page(1) - 1, rax: 0x44332211 });
      assert.strictEqual(t.read(AREA + 0x3fff, 1)[0], 0x11);
      assert.deepStrictEqual([...t.read(AREA + 0x6000, 3)], [0x22, 0x33, 0x44]);
      t.run(CODE, '0103', { rbx: page(1) - 1, rax: 1 });
      assert.strictEqual(t.read(AREA + 0x3fff, 1)[0], 0x12);
    });

    it('an instruction across pages: the second page faults with its own address, then runs', () => {
      const t = machine(scheme);
      entry(t, scheme, 0, AREA | P | W | U);
      // b8 11 22 33 44: mov eax, 44332211h
      t.write(page(1) - 2, [0xb8, 0x11]);
      t.run(CODE, JUMP, { rbx: page(1) - 2, rsp: 0x9000, rax: 0 }, 2);
      assert.strictEqual(t.vector, 14);
      assert.strictEqual(Number(t.cpu.get64(State.cr2)), page(1));
      const at = Number(t.get('rsp'));
      assert.strictEqual(scheme === '4-level' ? Number(t.read64(at + 8)) : t.read32(at + 4), page(1) - 2);
      entry(t, scheme, 1, (AREA + 0x6000) | P | W | U);
      t.write(AREA + 0x6000, [0x22, 0x33, 0x44, 0x90]);
      t.cpu.rip = BigInt(page(1) - 2);
      t.machine.run(2);
      assert.strictEqual(t.get('rax'), 0x44332211n);
      assert.strictEqual(t.cpu.rip, BigInt(page(1) + 4));
    });
  });
}

function machineWithHalf(scheme: Scheme): TestMachine {
  const t = machine(scheme);
  entry(t, scheme, 0, AREA | P | W | U);
  return t;
}

describe('paging details', () => {
  it('a stale translation lives until INVLPG', () => {
    const t = machine('4-level');
    entry(t, '4-level', 0, AREA | P | W | U);
    t.write32(AREA, 0x1111);
    t.write32(AREA + 0x1000, 0x2222);
    t.run(CODE, READ, { rbx: AREA });
    entry(t, '4-level', 0, (AREA + 0x1000) | P | W | U);
    t.run(CODE, '0f013b' + READ, { rbx: AREA }, 2);
    assert.strictEqual(t.get('rax'), 0x2222n);
  });

  it('a user-mode store after a supervisor-mode one is checked anew', () => {
    const t = machine('4-level');
    entry(t, '4-level', 0, AREA | P | W);
    t.run(CODE, WRITE, { rbx: AREA });
    t.segment('cs', 0x43, 0, 0xffffffff, 0xa0fb);
    t.segment('ss', 0x3b, 0, 0xffffffff, 0xc0f3);
    t.run(CODE, WRITE, { rbx: AREA });
    assert.strictEqual(errorOf(t), 7);
  });
});

describe('paging structures above 2 GiB', () => {
  it('are walked, and their accessed flags are set', () => {
    const t = new TestMachine({ memory: 0x88000000 }).enter('64');
    const tables = 0x87000000;
    const there = 0x87e00000;
    t.write64(tables, BigInt(tables + 0x1000) | BigInt(P | W));
    t.write64(tables + 0x1000, BigInt(tables + 0x2000) | BigInt(P | W));
    t.write64(tables + 0x2000, BigInt(P | W | PS));
    t.write64(tables + 0x2008, BigInt(there) | BigInt(P | W | PS));
    t.write64(there + 0x10, 0x1122334455667788n);
    t.cpu.set64(State.cr3, BigInt(tables));
    t.machine.core.flushAllTranslations();
    t.run(CODE, '488b03', { rbx: 0x200010, rsp: 0x9000 }); // mov rax, [rbx]
    assert.strictEqual(t.vector, undefined);
    assert.strictEqual(t.get('rax'), 0x1122334455667788n);
    assert.strictEqual(Number(t.read64(tables) & 0x20n), A);
    assert.strictEqual(Number(t.read64(tables + 0x2008) & 0x60n), A);
  });
});
