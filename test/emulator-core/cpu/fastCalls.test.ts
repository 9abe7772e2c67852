/** SYSCALL and SYSENTER by vendor, bases of FS and GS. SDM Vol. 2 and APM Vol. 3, the instructions' pages. */
import assert from 'node:assert';
import { SegmentIndex, State } from '../../../emulator-core/cpu/layout';
import { Cr4, Flag, Rights } from '../../../emulator-core/cpu/vcpu';
import { Selector, TestMachine, type Mode } from '../testMachine';

const CODE = 0x100000;
const TARGET = 0x120000;
const COMPAT_TARGET = 0x130000;

function machine(vendor: 'intel' | 'amd', mode: Mode, cpl: 0 | 3): TestMachine {
  const t = new TestMachine({ vendor }).enter(mode, cpl);
  const { cpu } = t;
  cpu.set64(State.efer, cpu.get64(State.efer) | 1n);
  cpu.set64(State.star, (0x33n << 48n) | (0x08n << 32n) | BigInt(TARGET));
  cpu.set64(State.lstar, BigInt(TARGET));
  cpu.set64(State.cstar, BigInt(COMPAT_TARGET));
  cpu.set64(State.fmask, 0x700n);
  cpu.set64(State.sysenterCs, BigInt(Selector.code64));
  cpu.set64(State.sysenterEip, BigInt(TARGET));
  cpu.set64(State.sysenterEsp, 0x8000n);
  return t;
}

describe('SYSCALL outside of 64-bit mode', () => {
  it('is #UD on Intel processors', () => {
    for (const mode of ['compat', '32'] as const)
      assert.strictEqual(machine('intel', mode, 3).run(CODE, '0f05', { rsp: 0x9000 }).vector, 6);
  });

  it('goes to CSTAR from compatibility mode on AMD ones', () => {
    const t = machine('amd', 'compat', 3);
    t.cpu.rflags = 0x303;
    t.run(CODE, '0f05', { rsp: 0x9000 });
    assert.deepStrictEqual([t.cpu.rip, t.cpu.bitness, t.cpu.cpl], [BigInt(COMPAT_TARGET), 64, 0]);
    assert.deepStrictEqual([t.get('rcx'), t.get('r11'), t.cpu.rflags], [BigInt(CODE + 2), 0x303n, 3]);
  });

  it('goes to STAR’s EIP in legacy mode on AMD ones, and SYSRET comes back', () => {
    const t = machine('amd', '32', 3);
    t.cpu.set64(State.star, (0x2bn << 48n) | (BigInt(Selector.code32) << 32n) | BigInt(TARGET));
    t.cpu.rflags = 0x202 | Flag.CF;
    t.writeHex(TARGET, '0f07');
    t.run(CODE, '0f05', { rsp: 0x9000 });
    assert.deepStrictEqual(
      [t.cpu.rip, t.cpu.cpl, t.get('rcx'), t.cpu.rflags],
      [BigInt(TARGET), 0, BigInt(CODE + 2), 3],
    );
    t.machine.run(1);
    assert.deepStrictEqual([t.cpu.rip, t.cpu.cpl, t.cpu.rflags], [BigInt(CODE + 2), 3, 0x203]);
    assert.deepStrictEqual([t.selector('cs'), t.selector('ss')], [0x2b, 0x33]);
  });
});

describe('SYSRET by vendor', () => {
  const BAD = 1n << 47n;
  it('to a non-canonical address: #GP at level 0 on Intel, at level 3 on AMD', () => {
    for (const [vendor, cs] of [['intel', Selector.code64], ['amd', 0x43]] as const) {
      const t = machine(vendor, '64', 0).run(CODE, '480f07', { rcx: BAD, r11: 2, rsp: 0x9000 }, 2);
      assert.strictEqual(t.vector, 13);
      assert.strictEqual(Number(t.read64(Number(t.get('rsp')) + 16)), cs);
      assert.strictEqual(t.read64(Number(t.get('rsp')) + 8), vendor === 'amd' ? BAD : BigInt(CODE));
    }
  }); // prettier-ignore

  it('SS: loaded whole on Intel, only its selector on AMD', () => {
    for (const vendor of ['intel', 'amd'] as const) {
      const t = machine(vendor, '64', 0);
      t.segment('ss', 0, 0, 0, Rights.unusable);
      t.run(CODE, '480f07', { rcx: TARGET, r11: 2 });
      assert.deepStrictEqual([t.selector('ss'), t.cpu.cpl], [0x3b, 3]);
      assert.strictEqual((t.cpu.rights(SegmentIndex.ss) & Rights.unusable) !== 0, vendor === 'amd');
    }
  });
});

describe('SYSENTER and SYSEXIT in long mode', () => {
  it('work on Intel processors from both submodes, and are #UD on AMD ones', () => {
    for (const mode of ['64', 'compat'] as const) {
      const t = machine('intel', mode, 3).run(CODE, '0f34', { rsp: 0x9000 });
      assert.deepStrictEqual([t.cpu.rip, t.cpu.cpl, t.cpu.bitness, t.get('rsp')], [BigInt(TARGET), 0, 64, 0x8000n]);
      assert.strictEqual(machine('amd', mode, 3).run(CODE, '0f34', { rsp: 0x9000 }).vector, 6);
    }
    assert.strictEqual(machine('amd', '64', 0).run(CODE, '480f35', { rsp: 0x9000 }).vector, 6);
    // Hardware (family 25, model 1) looks at the privilege level first.
    for (const mode of ['64', 'compat'] as const)
      assert.strictEqual(machine('amd', mode, 3).run(CODE, '0f35', { rsp: 0x9000 }).vector, 13);
    const out = machine('intel', '64', 0).run(CODE, '480f35', { rcx: 0x7000, rdx: TARGET });
    assert.deepStrictEqual(
      [out.cpu.rip, out.cpu.cpl, out.cpu.bitness, out.get('rsp')],
      [BigInt(TARGET), 3, 64, 0x7000n],
    );
    assert.strictEqual(out.selector('cs'), (Selector.code64 + 32) | 3);
  });

  it('SYSEXIT: non-canonical addresses, a null SYSENTER_CS and CPL 3 are #GP(0)', () => {
    const bad = 1n << 47n;
    assert.strictEqual(machine('intel', '64', 0).run(CODE, '480f35', { rcx: bad, rdx: 0, rsp: 0x9000 }).vector, 13);
    assert.strictEqual(machine('intel', '64', 0).run(CODE, '480f35', { rcx: 0, rdx: bad, rsp: 0x9000 }).vector, 13);
    assert.strictEqual(machine('intel', '64', 3).run(CODE, '480f35', { rsp: 0x9000 }).vector, 13);
    for (const code of ['0f34', '0f35']) {
      const t = machine('intel', '32', 0);
      t.cpu.set64(State.sysenterCs, 3n);
      assert.strictEqual(t.run(CODE, code, { rsp: 0x9000 }).vector, 13);
    }
    assert.strictEqual(machine('intel', 'real', 0).run(0x600, '0f34', { rsp: 0x1000 }).vector, 13);
  });
});

describe('bases of FS and GS', () => {
  const withBases = (cr4: number = Cr4.PAE | Cr4.FSGSBASE, cpl: 0 | 3 = 3): TestMachine => {
    const t = new TestMachine({ features: ['+fsgsbase'] }).enter('64', cpl);
    t.cpu.set64(State.cr4, BigInt(cr4));
    return t;
  };
  const HIGH = 0xffff800000001000n;

  it('WRFSBASE and WRGSBASE write them, RDFSBASE and RDGSBASE read them, at any level', () => {
    const code = 'f3480faed0' + 'f3480faedb' + 'f3480faec1' + 'f3480faeca'; // wrfsbase rax; wrgsbase rbx; rdfsbase rcx; rdgsbase rdx
    const t = withBases().run(CODE, code, { rax: HIGH, rbx: 0x5000 }, 4);
    assert.deepStrictEqual([t.get('rcx'), t.get('rdx')], [HIGH, 0x5000n]);
    assert.deepStrictEqual([t.cpu.segmentBase(SegmentIndex.fs), t.cpu.segmentBase(SegmentIndex.gs)], [HIGH, 0x5000n]);
  });

  it('32-bit operands are zero-extended', () => {
    const t = withBases().run(CODE, 'f30faed0' + 'f30faec1', { rax: 0xffffffff80000000n, rcx: -1 }, 2);
    assert.deepStrictEqual([t.cpu.segmentBase(SegmentIndex.fs), t.get('rcx')], [0x80000000n, 0x80000000n]);
  });

  it('a non-canonical base is #GP(0); without CR4.FSGSBASE, or outside of 64-bit mode, #UD', () => {
    assert.strictEqual(withBases().run(CODE, 'f3480faed0', { rax: 1n << 47n, rsp: 0x9000 }).vector, 13);
    assert.strictEqual(withBases(Cr4.PAE).run(CODE, 'f3480faec0', { rsp: 0x9000 }).vector, 6);
    const t = new TestMachine({ features: ['+fsgsbase'] }).enter('compat', 3);
    t.cpu.set64(State.cr4, BigInt(Cr4.PAE | Cr4.FSGSBASE));
    assert.strictEqual(t.run(CODE, 'f30faec0', { rsp: 0x9000 }).vector, 6);
    assert.strictEqual(new TestMachine({ features: ['-fsgsbase'] }).enter('64').run(CODE, 'f3480faec0').vector, 6);
  });

  it('SWAPGS exchanges GS with KERNEL_GS_BASE at level 0', () => {
    const t = withBases(Cr4.PAE, 0);
    t.cpu.set64(State.kernelGsBase, HIGH);
    t.cpu.setSegmentBase(SegmentIndex.gs, 0x1234n);
    t.run(CODE, '0f01f8');
    assert.deepStrictEqual([t.cpu.segmentBase(SegmentIndex.gs), t.cpu.get64(State.kernelGsBase)], [HIGH, 0x1234n]);
    assert.strictEqual(withBases(Cr4.PAE, 3).run(CODE, '0f01f8', { rsp: 0x9000 }).vector, 13);
    assert.strictEqual(new TestMachine().enter('compat').run(CODE, '0f01f8', { rsp: 0x9000 }).vector, 6);
  });
});
