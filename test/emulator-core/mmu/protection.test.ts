/** Protection keys and SMAP in 4-level paging. SDM Vol. 3A, "Determination of Access Rights" and "Protection Keys". */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr0, Cr4, Flag, Vector } from '../../../emulator-core/cpu/vcpu';
import { GDT, HANDLERS, RING0_STACK, Selector, TestMachine, type GprName } from '../testMachine';

const CODE = 0x100000;
const TABLE = 0xd000;
const AREA = 0x400000;
const P = 1, W = 2, U = 4; // prettier-ignore
const STAC = '0f01cb';
const CLAC = '0f01ca';
const RDPKRU = '0f01ee';
const WRPKRU = '0f01ef';
const READ = '8b03';
const WRITE = '8903';
const CALL = 'ffd3';

/** AREA's first page through TABLE as `entry` says; the rest is for users only when `cpl` is 3. */
function machine(entry: bigint, cr4: number, cpl: 0 | 3 = 0, flags = 0): TestMachine {
  const t = new TestMachine({ features: ['+pku', '+pks'] }).enter('64', cpl);
  t.write64(0x3000 + 2 * 8, BigInt(TABLE | P | W | U));
  if (cpl === 0) for (const i of [0, 1, 3, 4, 5, 6, 7]) t.write64(0x3000 + i * 8, BigInt(i * 0x200000 + 0x83));
  t.write64(TABLE, entry | BigInt(AREA));
  t.cpu.set64(State.cr4, BigInt(t.cpu.cr4 | cr4));
  t.cpu.rflags = 2 | flags;
  t.cpu.modeChanged();
  t.machine.core.flushAllTranslations();
  return t;
}
function run(t: TestMachine, hex: string, registers: Partial<Record<GprName, number>> = {}, count = 1): TestMachine {
  return t.run(CODE, hex, { rbx: AREA, rsp: 0x9000, ...registers }, count);
}
/** Error code of the #PF; undefined: no exception. */
function error(t: TestMachine): number | undefined {
  if (t.vector === undefined) return undefined;
  assert.strictEqual(t.vector, Vector.PF);
  return t.read32(Number(t.get('rsp')));
}
const key = (n: number) => BigInt(n) << 59n;
/** PKRU with access disabled (1) or writes disabled (2) for a key. */
const denies = (n: number, bits: number) => (bits << (2 * n)) >>> 0;

describe('protection keys', () => {
  const cases: [what: string, entry: bigint, pkru: number, code: string, cpl: 0 | 3, want: number | undefined, wp?: boolean][] = [
    ['AD: user read', BigInt(P | W | U) | key(5), denies(5, 1), READ, 3, 0x25],
    ['AD: user write', BigInt(P | W | U) | key(5), denies(5, 1), WRITE, 3, 0x27],
    ['AD: supervisor read of a user page', BigInt(P | W | U) | key(5), denies(5, 1), READ, 0, 0x21],
    ['AD: supervisor page', BigInt(P | W) | key(5), denies(5, 1), READ, 0, undefined],
    ['AD: another key', BigInt(P | W | U) | key(4), denies(5, 3), WRITE, 3, undefined],
    ['AD: key 15', BigInt(P | W | U) | key(15), denies(15, 1), READ, 3, 0x25],
    ['AD does not bind fetches', BigInt(P | W | U) | key(5), denies(5, 1), CALL, 3, undefined],
    ['WD: user read', BigInt(P | W | U) | key(5), denies(5, 2), READ, 3, undefined],
    ['WD: user write', BigInt(P | W | U) | key(5), denies(5, 2), WRITE, 3, 0x27],
    ['WD: supervisor write', BigInt(P | W | U) | key(5), denies(5, 2), WRITE, 0, 0x23],
    ['WD: supervisor write without CR0.WP', BigInt(P | W | U) | key(5), denies(5, 2), WRITE, 0, undefined, false],
    ['AD: supervisor write without CR0.WP', BigInt(P | W | U) | key(5), denies(5, 1), WRITE, 0, 0x23, false],
    ['a read-only page whose key forbids it, too', BigInt(P | U) | key(5), denies(5, 1), WRITE, 3, 0x27],
    ['a read-only page whose key allows it', BigInt(P | U) | key(5), denies(4, 3), WRITE, 3, 7],
    ['a page that is not present', key(5), denies(5, 1), READ, 3, 4],
  ]; // prettier-ignore
  for (const [what, entry, pkru, code, cpl, want, wp] of cases) {
    it(`${what}: ${want === undefined ? 'no fault' : `error code ${want.toString(16)}h`}`, () => {
      const t = machine(entry, Cr4.PKE, cpl);
      t.cpu.setPkru(pkru);
      if (wp === false) t.cpu.set64(State.cr0, BigInt((t.cpu.cr0 & ~Cr0.WP) >>> 0));
      assert.strictEqual(error(run(t, code)), want);
    });
  }

  it('do nothing without CR4.PKE, where RDPKRU and WRPKRU do not exist', () => {
    const t = machine(BigInt(P | W | U) | key(5), 0, 3);
    t.cpu.setPkru(0xffffffff);
    assert.strictEqual(error(run(t, READ)), undefined);
    for (const code of [RDPKRU, WRPKRU]) assert.strictEqual(run(machine(0n, 0), code, {}, 2).vector, Vector.UD);
    const without = new TestMachine().enter('64').run(CODE, RDPKRU, {}, 2);
    assert.strictEqual(without.vector, Vector.UD);
  });

  it('WRPKRU works on the next access, both ways', () => {
    const t = machine(BigInt(P | W | U) | key(5), Cr4.PKE, 3);
    run(t, READ + WRITE, {}, 2);
    run(t, WRPKRU + READ + WRITE, { rax: denies(5, 2), rcx: 0, rdx: 0 }, 4);
    assert.strictEqual(error(t), 7 | 0x20);
    const u = machine(BigInt(P | W | U) | key(5), Cr4.PKE, 3);
    run(u, WRPKRU + WRITE, { rax: denies(5, 1), rcx: 0, rdx: 0 }, 3);
    assert.strictEqual(error(u), 0x27);
    // Back at the instruction with the rights given: no INVLPG is needed.
    u.cpu.setPkru(0);
    u.segment('cs', Selector.userCode64, 0, 0xffffffff, 0xa0fb);
    u.segment('ss', Selector.userData, 0, 0xffffffff, 0xc0f3);
    run(u, WRITE, { rax: 0x77 });
    assert.strictEqual(u.read32(AREA), 0x77);
  });

  it('RDPKRU reads what WRPKRU wrote; ECX and EDX must be 0', () => {
    const t = machine(0n, Cr4.PKE, 3);
    run(t, WRPKRU, { rax: 0x5555aaaa, rcx: 0, rdx: 0 });
    run(t, RDPKRU, { rax: -1, rcx: 0, rdx: -1 });
    assert.strictEqual(t.get('rax'), 0x5555aaaan);
    assert.strictEqual(t.get('rdx'), 0n);
    assert.strictEqual(run(machine(0n, Cr4.PKE, 3), RDPKRU, { rcx: 1 }, 2).vector, Vector.GP);
    assert.strictEqual(run(machine(0n, Cr4.PKE, 3), WRPKRU, { rcx: 1, rdx: 0 }, 2).vector, Vector.GP);
    assert.strictEqual(run(machine(0n, Cr4.PKE, 3), WRPKRU, { rcx: 0, rdx: 1 }, 2).vector, Vector.GP);
  });
});

describe('protection keys for supervisor pages', () => {
  const WRMSR = '0f30';
  const cases: [what: string, entry: bigint, pkrs: number, code: string, want: number | undefined, wp?: boolean][] = [
    ['AD: read', BigInt(P | W) | key(5), denies(5, 1), READ, 0x21],
    ['AD: write', BigInt(P | W) | key(5), denies(5, 1), WRITE, 0x23],
    ['AD: a user page', BigInt(P | W | U) | key(5), denies(5, 1), READ, undefined],
    ['AD: another key', BigInt(P | W) | key(4), denies(5, 3), WRITE, undefined],
    ['AD does not bind fetches', BigInt(P | W) | key(5), denies(5, 1), CALL, undefined],
    ['WD: read', BigInt(P | W) | key(5), denies(5, 2), READ, undefined],
    ['WD: write', BigInt(P | W) | key(5), denies(5, 2), WRITE, 0x23],
    ['WD: write without CR0.WP', BigInt(P | W) | key(5), denies(5, 2), WRITE, undefined, false],
    ['AD: write without CR0.WP', BigInt(P | W) | key(5), denies(5, 1), WRITE, 0x23, false],
  ]; // prettier-ignore
  for (const [what, entry, pkrs, code, want, wp] of cases) {
    it(`${what}: ${want === undefined ? 'no fault' : `error code ${want.toString(16)}h`}`, () => {
      const t = machine(entry, Cr4.PKS);
      t.cpu.setPkrs(pkrs);
      if (wp === false) t.cpu.set64(State.cr0, BigInt((t.cpu.cr0 & ~Cr0.WP) >>> 0));
      assert.strictEqual(error(run(t, code)), want);
    });
  }

  it('PKRU and IA32_PKRS each bind their own pages, each with its own CR4 bit', () => {
    const t = machine(BigInt(P | W) | key(5), Cr4.PKE);
    t.cpu.setPkrs(denies(5, 1));
    t.cpu.setPkru(denies(5, 1));
    assert.strictEqual(error(run(t, READ)), undefined);
  });

  it('IA32_PKRS is written by WRMSR and works on the next access; its upper half is reserved', () => {
    const t = machine(BigInt(P | W) | key(5), Cr4.PKS);
    run(t, READ + WRITE, {}, 2);
    run(t, WRMSR + WRITE, { rax: denies(5, 2), rcx: 0x6e1, rdx: 0 }, 3);
    assert.strictEqual(error(t), 0x23);
    const refused = run(machine(0n, Cr4.PKS), WRMSR, { rax: 0, rcx: 0x6e1, rdx: 1 }, 2);
    assert.strictEqual(refused.vector, Vector.GP);
    const absent = new TestMachine({ features: ['+pku'] }).enter('64');
    absent.run(CODE, WRMSR, { rax: 0, rcx: 0x6e1, rdx: 0 }, 2);
    assert.strictEqual(absent.vector, Vector.GP);
  });
});

describe('SMAP', () => {
  it('STAC lets supervisor accesses through, CLAC does not', () => {
    const t = machine(BigInt(P | W | U), Cr4.SMAP);
    run(t, STAC + READ + WRITE + CLAC, {}, 4);
    assert.strictEqual(t.vector, undefined);
    assert.strictEqual(t.cpu.rflags & Flag.AC, 0);
    assert.strictEqual(error(run(t, READ, {}, 2)), 1);
    assert.strictEqual(error(run(machine(BigInt(P | W | U), Cr4.SMAP), WRITE, {}, 2)), 3);
  });

  it('STAC and CLAC are for CPL 0, and for processors with SMAP', () => {
    for (const code of [STAC, CLAC]) {
      assert.strictEqual(run(machine(0n, 0, 3), code, {}, 2).vector, Vector.UD);
      assert.strictEqual(run(machine(0n, 0, 0), code).vector, undefined, 'whatever CR4.SMAP is');
      const without = new TestMachine({ features: ['-smap'] }).enter('64').run(CODE, code, {}, 2);
      assert.strictEqual(without.vector, Vector.UD);
    }
  });

  it("binds the processor's own accesses even with AC", () => {
    // mov ds, ax with the LDT in a user page.
    const load = (entry: number): TestMachine => {
      const t = machine(BigInt(entry), Cr4.SMAP, 0, Flag.AC);
      t.write(AREA, t.read(GDT, 0x80));
      t.segment('ldtr', 0x50, AREA, 0xff, 0x82);
      return t.run(CODE, READ + '8ed9', { rbx: AREA, rcx: Selector.data | 4, rsp: 0x9000 }, 3);
    };
    assert.strictEqual(load(P | W).selector('ds'), Selector.data | 4);
    const bad = load(P | W | U);
    assert.strictEqual(error(bad), 1);
    assert.strictEqual(bad.cpu.get64(State.cr2), BigInt(AREA + Selector.data));
  });

  it('an implicit access from CPL 3 is a supervisor access', () => {
    // INT 80h whose TSS is in a user page: RSP for CPL 0 is read from there, for the fault's own delivery, too.
    const t = machine(BigInt(P | W | U), Cr4.SMAP, 3);
    t.write64(0x3000, 0x83n);
    for (const vector of [0x80, Vector.PF, Vector.DF]) t.gate('64', vector, HANDLERS + vector * 16, 0xe0, 0);
    t.write64(AREA + 4, BigInt(RING0_STACK));
    t.segment('tr', Selector.tss, AREA, 0xfff, 0x8b);
    t.machine.core.flushAllTranslations();
    t.run(0x600000, 'cd80', { rsp: 0x600800 });
    assert.strictEqual(t.machine.end?.kind, 'triple fault');
    assert.strictEqual(t.cpu.get64(State.cr2), BigInt(AREA + 4));
    const fine = machine(BigInt(P | W), Cr4.SMAP, 3);
    fine.write64(0x3000, 0x83n);
    fine.gate('64', 0x80, HANDLERS + 0x80 * 16, 0xe0, 0);
    fine.write64(AREA + 4, BigInt(RING0_STACK));
    fine.segment('tr', Selector.tss, AREA, 0xfff, 0x8b);
    fine.machine.core.flushAllTranslations();
    assert.strictEqual(fine.run(0x600000, 'cd80', { rsp: 0x600800 }).vector, 0x80);
  });
});
