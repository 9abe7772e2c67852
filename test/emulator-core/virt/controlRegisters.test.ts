/** What control registers take. SDM Vol. 2, "MOV—Move to/from Control Registers", "INVPCID"; Vol. 3A, "Control Registers". */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr0, Cr4, Efer, Vector } from '../../../emulator-core/cpu/vcpu';
import { ExitReason } from '../../../emulator-core/virt/vmx/exitReasons';
import { TestMachine, type Mode } from '../testMachine';

const CODE = 0x100000;
const MOV_CR0 = '0f22c0';
const MOV_CR3 = '0f22d8';
const MOV_CR4 = '0f22e0';
const MOV_CR8 = '440f22c0';
const GP = Vector.GP;
const CR0_LONG = 0x80010031;

function machine(mode: Mode = '64', features: string[] = [], cr4 = 0): TestMachine {
  const t = new TestMachine({ features }).enter(mode);
  t.cpu.set64(State.cr4, BigInt(t.cpu.cr4 | cr4));
  t.cpu.modeChanged();
  return t;
}
const write = (t: TestMachine, hex: string, rax: bigint | number): number | undefined =>
  t.run(CODE, hex, { rax, rsp: 0x9000 }, 1).vector;

describe('MOV to CR0', () => {
  const cases: [what: string, mode: Mode, value: bigint | number, want: number | undefined][] = [
    ['PG without PE', '32', 0x80000000, GP],
    ['NW without CD', '64', CR0_LONG | 0x20000000, GP],
    ['NW with CD', '64', CR0_LONG | 0x60000000, undefined],
    ['bit 32', '64', (1n << 32n) | BigInt(CR0_LONG >>> 0), GP],
    ['PG off in 64-bit mode', '64', 0x10031, GP],
    ['PG off in compatibility mode', 'compat', 0x10031, undefined],
    ['reserved bits of 31:0 are ignored', '64', CR0_LONG | 0x0ffa_ffc0 & ~0x50000, undefined],
  ]; // prettier-ignore
  for (const [what, mode, value, want] of cases) {
    it(`${what}: ${want === undefined ? 'taken' : '#GP'}`, () => {
      const t = machine(mode);
      const v = typeof value === 'number' ? BigInt(value >>> 0) : value;
      assert.strictEqual(write(t, MOV_CR0, v), want);
      if (want === undefined) assert.strictEqual(t.cpu.get64(State.cr0), v & 0xe005003fn);
    });
  }

  it('PG with LME wants PAE, and neither CS.L nor a 16-bit TSS', () => {
    const long = (change: (t: TestMachine) => void): TestMachine => {
      const t = new TestMachine().enter('64');
      const u = t.machine.vcpus[0];
      // 64-bit tables, left for 32-bit protected mode without paging.
      u.set64(State.cr0, 0x31n);
      u.set64(State.efer, BigInt(Efer.LME));
      t.segment('cs', 0x18, 0, 0xffffffff, 0xc09b);
      change(t);
      u.modeChanged();
      t.machine.core.flushAllTranslations();
      return t;
    };
    const fine = long(() => {});
    assert.strictEqual(write(fine, MOV_CR0, 0x80000031), undefined);
    assert.strictEqual(fine.cpu.efer & Efer.LMA, Efer.LMA);
    const noPae = long((t) => t.cpu.set64(State.cr4, 0n));
    write(noPae, MOV_CR0, 0x80000031);
    assert.strictEqual(noPae.cpu.cr0 & Cr0.PG, 0);
    for (const type of [0x81, 0x83]) {
      const old = long((t) => t.segment('tr', 0x48, 0x7000, 0xfff, type));
      write(old, MOV_CR0, 0x80000031);
      assert.strictEqual(old.cpu.cr0 & Cr0.PG, 0, 'a 16-bit TSS');
      assert.strictEqual(old.cpu.efer & Efer.LMA, 0);
    }
  });

  it('PG off with PCIDE is #GP, in compatibility mode, too', () => {
    assert.strictEqual(write(machine('compat', [], Cr4.PCIDE), MOV_CR0, 0x10031), GP);
  });
});

describe('MOV to CR3', () => {
  it('bits from the physical-address width up are reserved in IA-32e mode', () => {
    assert.strictEqual(write(machine(), MOV_CR3, (1n << 40n) | 0x1000n), GP);
    assert.strictEqual(write(machine(), MOV_CR3, (1n << 63n) | 0x1000n), GP);
    assert.strictEqual(write(machine(), MOV_CR3, 0x1fffn), undefined);
  });
  it('with PCIDE bit 63 keeps translations, and is not stored', () => {
    const t = machine('64', [], Cr4.PCIDE);
    assert.strictEqual(write(t, MOV_CR3, (1n << 63n) | 0x1005n), undefined);
    assert.strictEqual(t.cpu.get64(State.cr3), 0x1005n);
    assert.strictEqual(write(machine('64', [], Cr4.PCIDE), MOV_CR3, (1n << 62n) | 0x1005n), GP);
  });
});

describe('MOV to CR4', () => {
  const PAE = Cr4.PAE;
  const cases: [what: string, features: string[], value: number | bigint, want: number | undefined, cr3?: number][] = [
    ['PAE off in IA-32e mode', [], 0, GP],
    ['bit 32', [], (1n << 32n) | 0x20n, GP],
    ['a bit that does not exist (15)', [], PAE | 0x8000, GP],
    ['VMXE without VMX', [], PAE | Cr4.VMXE, GP],
    ['SMEP', [], PAE | Cr4.SMEP, undefined],
    ['SMEP without the feature', ['-smep'], PAE | Cr4.SMEP, GP],
    ['SMAP without the feature', ['-smap'], PAE | Cr4.SMAP, GP],
    ['PKE', ['+pku'], PAE | Cr4.PKE, undefined],
    ['PKE without the feature', [], PAE | Cr4.PKE, GP],
    ['LA57 changes in IA-32e mode', ['+la57'], PAE | Cr4.LA57, GP],
    ['PCIDE', [], PAE | Cr4.PCIDE, undefined],
    ['PCIDE while CR3 has bits 11:0', [], PAE | Cr4.PCIDE, GP, 0x1018],
    ['PCIDE without the feature', ['-pcid'], PAE | Cr4.PCIDE, GP],
    ['MCE', [], PAE | Cr4.MCE, undefined],
  ]; // prettier-ignore
  for (const [what, features, value, want, cr3] of cases) {
    it(`${what}: ${want === undefined ? 'taken' : '#GP'}`, () => {
      const t = machine('64', features);
      if (cr3) t.cpu.set64(State.cr3, BigInt(cr3));
      assert.strictEqual(write(t, MOV_CR4, value), want);
      if (want === undefined) assert.strictEqual(t.cpu.get64(State.cr4), BigInt(value));
    });
  }
  it('PCIDE outside IA-32e mode is #GP; LA57 there is taken', () => {
    assert.strictEqual(write(machine('32'), MOV_CR4, PAE | Cr4.PCIDE), GP);
    assert.strictEqual(write(machine('32', ['+la57']), MOV_CR4, PAE | Cr4.LA57), undefined);
  });
});

describe('other control registers', () => {
  it('CR8 takes 4 bits', () => {
    const t = machine();
    assert.strictEqual(write(t, MOV_CR8, 9), undefined);
    t.run(CODE, '440f20c0', { rax: -1 });
    assert.strictEqual(t.get('rax'), 9n);
    assert.strictEqual(write(machine(), MOV_CR8, 16), GP);
  });
  it('CR1, CR5 and the like do not exist', () => {
    for (const hex of ['0f22c8', '0f20c8', '0f22e8', '0f20e8', '440f22c8']) {
      assert.strictEqual(write(machine(), hex, 0), Vector.UD, hex);
    }
  });
  it('EFER: LME changes only while paging is off, reserved bits are #GP, LMA is kept', () => {
    const efer = (value: number): [number | undefined, number] => {
      const t = machine();
      t.run(CODE, '0f30', { rcx: 0xc0000080, rax: value, rdx: 0, rsp: 0x9000 });
      return [t.vector, t.cpu.efer];
    };
    assert.deepStrictEqual(efer(0x901), [undefined, 0xd01]);
    assert.deepStrictEqual(efer(0x801)[0], GP);
    assert.deepStrictEqual(efer(0x903)[0], GP);
    assert.deepStrictEqual(efer(0x1901)[0], GP, 'SVME');
  });
});

describe('INVPCID', () => {
  const INVPCID = '660f388203'; // invpcid rax, [rbx]
  function invpcid(
    type: bigint | number,
    pcid: bigint,
    address = 0n,
    cr4 = 0,
    mode: Mode = '64',
    cpl: 0 | 3 = 0,
  ): number | undefined {
    const t = new TestMachine().enter(mode, cpl);
    t.cpu.set64(State.cr4, BigInt(t.cpu.cr4 | cr4));
    t.write64(0x200000, pcid);
    t.write64(0x200008, address);
    return t.run(CODE, INVPCID, { rax: type, rbx: 0x200000, rsp: 0x9000 }).vector;
  }
  const bad = 1n << 47n;
  it('types 0 to 3', () => {
    for (const type of [0, 1, 2, 3]) assert.strictEqual(invpcid(type, 0n), undefined);
    assert.strictEqual(invpcid(4, 0n), GP);
    assert.strictEqual(invpcid(1n << 32n, 0n), GP);
    assert.strictEqual(invpcid(1n << 32n, 0n, 0n, 0, 'compat'), undefined, '32 bits outside 64-bit mode');
  });
  it('reserved bits of the descriptor', () => {
    for (const type of [0, 1, 2, 3]) assert.strictEqual(invpcid(type, 0x1000n, 0n, Cr4.PCIDE), GP);
  });
  it('a PCID wants CR4.PCIDE where it is used', () => {
    for (const type of [0, 1]) {
      assert.strictEqual(invpcid(type, 5n), GP);
      assert.strictEqual(invpcid(type, 5n, 0n, Cr4.PCIDE), undefined);
    }
    for (const type of [2, 3]) assert.strictEqual(invpcid(type, 5n), undefined);
  });
  it('a canonical address where it is used', () => {
    assert.strictEqual(invpcid(0, 0n, bad), GP);
    for (const type of [1, 2, 3]) assert.strictEqual(invpcid(type, 0n, bad), undefined);
  });
  it('is for CPL 0', () => {
    assert.strictEqual(invpcid(2, 0n, 0n, 0, '64', 3), GP);
    assert.strictEqual(
      new TestMachine({ features: ['-invpcid'] }).enter('64').run(CODE, INVPCID, {}, 2).vector,
      Vector.UD,
    );
  });
  it('forgets translations', () => {
    for (const type of [0, 1, 2, 3]) {
      const t = new TestMachine().enter('64');
      t.write64(0x3010, 0x400087n);
      t.write32(0x400000, 1);
      t.write32(0x600000, 2);
      t.write64(0x200000, 0n);
      t.write64(0x200008, 0x400000n);
      t.run(CODE, '8b09', { rcx: 0x400000 });
      t.write64(0x3010, 0x600087n);
      t.run(CODE, INVPCID + '8b09', { rax: type, rbx: 0x200000, rcx: 0x400000 }, 2);
      assert.strictEqual(t.get('rcx'), 2n);
    }
  });
  it('exits with INVLPG exiting', () => {
    const reasons: number[] = [];
    const t = new TestMachine({}, { exit: (_cpu, exit) => (reasons.push(exit.reason), false) }).enter('64');
    t.run(CODE, INVPCID, { rax: 2, rbx: 0x200000 });
    t.machine.vmm.configure(new Set(['INVPCID']));
    t.run(CODE, INVPCID, { rax: 2, rbx: 0x200000 });
    assert.deepStrictEqual(reasons, [ExitReason.invpcid]);
  });
});
