/** 5-level paging, 1-GByte and 4-MByte pages, PAE pointer registers, reserved bits. SDM Vol. 3A, chapter "Paging". */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr0, Cr4, Efer, Vector } from '../../../emulator-core/cpu/vcpu';
import { TestMachine, type GprName } from '../testMachine';

const CODE = 0x100000;
const READ = '8b03';
const READ64 = '488b03';
const P = 1, W = 2, U = 4, PS = 0x80; // prettier-ignore

type Registers = Partial<Record<GprName, bigint | number>>;
function run(t: TestMachine, hex: string, registers: Registers, count = 1): TestMachine {
  return t.run(CODE, hex, { rsp: 0x9000, ...registers }, count);
}
function error(t: TestMachine): number | undefined {
  if (t.vector === undefined) return undefined;
  assert.strictEqual(t.vector, Vector.PF);
  return t.read32(Number(t.get('rsp')));
}

describe('5-level paging', () => {
  /** PML5 at 0xd000 whose first entry is the usual PML4 table; entry 0x1ab leads to it, too. */
  function machine(features = ['+la57']): TestMachine {
    const t = new TestMachine({ features }).enter('64');
    t.write64(0xd000, 0x1007n);
    t.write64(0xd000 + 0xab * 8, 0x1007n);
    t.write64(0xd000 + 0x1ab * 8, 0x1007n);
    t.cpu.set64(State.cr3, 0xd000n);
    t.cpu.set64(State.cr4, BigInt(t.cpu.cr4 | Cr4.LA57));
    t.cpu.modeChanged();
    t.machine.core.flushAllTranslations();
    t.write64(0x200000, 0x1122334455667788n);
    return t;
  }
  const LOW = (0xabn << 48n) | 0x200000n;
  const HIGH = 0xff00000000000000n | (0xabn << 48n) | 0x200000n;

  it('translates 57 bits, in both halves', () => {
    for (const address of [LOW, HIGH, 0x200000n]) {
      const t = run(machine(), READ64, { rbx: address });
      assert.strictEqual(t.vector, undefined);
      assert.strictEqual(t.get('rax'), 0x1122334455667788n, address.toString(16));
    }
    const t = run(machine(), READ64, { rbx: LOW + (1n << 48n) });
    assert.strictEqual(error(t), 0);
    assert.strictEqual(t.cpu.get64(State.cr2), LOW + (1n << 48n));
  });

  it('code at addresses that differ in bits 56:52 alone is not taken for one another', () => {
    const t = machine();
    // PML5 entry 16 leads to tables of its own, which map 2 MBytes at 400000h.
    t.write64(0xd000 + 16 * 8, 0xe007n);
    t.write64(0xe000, 0xf007n);
    t.write64(0xf000, 0x10007n);
    t.write64(0x10000, 0x400087n);
    const at = 0x100000;
    t.writeHex(at + 0x40, 'b801000000'); // mov eax, 1
    t.writeHex(0x400000 + at + 0x40, 'b802000000'); // mov eax, 2
    t.run(at, 'ffe3', { rbx: (1n << 52n) | BigInt(at + 0x40) }, 2); // jmp rbx
    assert.strictEqual(t.vector, undefined);
    assert.strictEqual(t.get('rax'), 2n);
  });

  it('sets the accessed flag of the PML5 entry; bit 7 there is reserved', () => {
    const t = run(machine(), READ64, { rbx: LOW });
    assert.strictEqual(t.read32(0xd000 + 0xab * 8) & 0xff, 0x27);
    const bad = machine();
    bad.write64(0xd000 + 0xab * 8, 0x1087n);
    assert.strictEqual(error(run(bad, READ64, { rbx: LOW })), 9);
  });

  it('runs code beyond 48 bits, and jumps only to canonical addresses', () => {
    const t = machine();
    const code = LOW - 0x200000n + BigInt(CODE);
    t.writeHex(CODE, '48ffc0');
    t.cpu.rip = code;
    t.set({ rax: 1 });
    t.machine.run(1);
    assert.strictEqual(t.get('rax'), 2n);
    assert.strictEqual(t.cpu.rip, code + 3n);
    for (const [address, vector] of [
      [1n << 56n, Vector.GP],
      [1n << 47n, Vector.PF],
    ] as const) {
      assert.strictEqual(run(machine(), READ, { rbx: address }).vector, vector);
      assert.strictEqual(run(machine(), 'ffe3', { rbx: address }, 2).vector, vector);
    }
    // With 4-level paging the same processor checks 48 bits.
    const four = new TestMachine({ features: ['+la57'] }).enter('64');
    assert.strictEqual(run(four, READ, { rbx: 1n << 47n }).vector, Vector.GP);
  });

  it('registers that hold addresses take 57 bits on such a processor, also with 4-level paging', () => {
    const wrmsr = '0f30';
    const write = (features: string[], index: number, value: bigint): number | undefined => {
      const t = new TestMachine({ features }).enter('64');
      return run(t, wrmsr, { rcx: index, rax: value & 0xffffffffn, rdx: value >> 32n }).vector;
    };
    for (const index of [0xc0000082, 0xc0000100, 0xc0000102, 0x176]) {
      assert.strictEqual(write(['+la57'], index, 1n << 47n), undefined);
      assert.strictEqual(write(['+la57'], index, 1n << 56n), Vector.GP);
      assert.strictEqual(write([], index, 1n << 47n), Vector.GP);
    }
    // LGDT.
    const t = new TestMachine({ features: ['+la57'] }).enter('64');
    t.write64(0x300002, 1n << 50n);
    assert.strictEqual(run(t, '0f0113', { rbx: 0x300000 }).vector, undefined);
    assert.strictEqual(t.cpu.get64(State.gdtrBase), 1n << 50n);
  });
});

describe('1-GByte pages', () => {
  function machine(features: string[], entry: number): TestMachine {
    const t = new TestMachine({ features }).enter('64');
    t.write64(0x2008, BigInt(entry));
    t.machine.core.flushAllTranslations();
    t.write32(0x234568, 0xcafe);
    return t;
  }
  const address = 0x40000000 + 0x234568;

  it('map with pdpe1gb', () => {
    const t = run(machine([], P | W | PS), READ, { rbx: address });
    assert.strictEqual(t.get('rax'), 0xcafen);
    assert.strictEqual(t.read32(0x2008), P | W | PS | 0x20);
    run(t, '8903', { rbx: address, rax: 1 });
    assert.strictEqual(t.read32(0x2008), P | W | PS | 0x60);
    assert.strictEqual(t.read32(0x234568), 1);
  });
  it('bits 29:13 are reserved', () => {
    assert.strictEqual(error(run(machine([], P | W | PS | 0x2000), READ, { rbx: address })), 9);
    assert.strictEqual(error(run(machine([], P | W | PS | 0x20000000), READ, { rbx: address })), 9);
    assert.strictEqual(error(run(machine([], P | W | PS | 0x1000), READ, { rbx: address })), undefined, 'PAT');
  });
  it('do not exist without it: bit 7 is reserved', () => {
    assert.strictEqual(error(run(machine(['-pdpe1gb'], P | W | PS), READ, { rbx: address })), 9);
  });
});

describe('4-MByte pages', () => {
  function machine(features: string[], entry: number, cr4: number = Cr4.PSE): TestMachine {
    const t = new TestMachine({ features }).enter('32');
    t.write32(0x1000, P | W | U | PS);
    t.write32(0x1004, entry);
    t.cpu.set64(State.cr4, BigInt(cr4));
    t.cpu.set64(State.cr0, BigInt((t.cpu.cr0 | Cr0.PG) >>> 0));
    t.cpu.modeChanged();
    t.machine.core.flushAllTranslations();
    return t;
  }
  it('PSE-36: bits 20:13 are address bits 39:32, bit 21 is reserved', () => {
    const t = machine([], 0x2000 | P | W | PS);
    let seen = 0n;
    t.machine.hooks.exit = (_cpu, exit) => ((seen = exit.guestPhysical), false);
    run(t, READ, { rbx: 0x400010 });
    assert.strictEqual(seen, 0x100000010n);
    assert.strictEqual(error(run(machine([], 0x200000 | P | W | PS), READ, { rbx: 0x400010 })), 9);
  });
  it('without PSE-36 all of bits 21:13 are reserved', () => {
    assert.strictEqual(error(run(machine(['-pse36'], 0x2000 | P | W | PS), READ, { rbx: 0x400010 })), 9);
    assert.strictEqual(error(run(machine(['-pse36'], 0x400000 | P | W | PS), READ, { rbx: 0x400010 })), undefined);
  });
});

describe('PAE paging', () => {
  const CR3 = 0xd000;
  /** Pointer 0 leads to 2-MByte identity pages; paging is off yet. */
  function machine(pointer1 = 0n): TestMachine {
    const t = new TestMachine().enter('32');
    t.write64(CR3, 0x2001n);
    t.write64(CR3 + 8, pointer1);
    for (let i = 0; i < 4; i++) t.write64(0x2000 + i * 8, BigInt(i * 0x200000 + 0x87));
    t.cpu.set64(State.cr3, BigInt(CR3));
    t.cpu.set64(State.cr4, BigInt(Cr4.PAE));
    t.cpu.set64(State.efer, BigInt(Efer.NXE));
    return t;
  }
  const PG = 0x80000033;
  const MOV_CR0 = '0f22c0';
  const MOV_CR3 = '0f22d8';
  const MOV_CR4 = '0f22e0';

  it('turning it on loads the pointer registers; memory is not looked at again', () => {
    const t = run(machine(), MOV_CR0, { rax: PG });
    assert.strictEqual(t.vector, undefined);
    assert.strictEqual(t.cpu.get64(State.pdpte), 0x2001n);
    t.write64(CR3, 0n);
    t.machine.core.flushAllTranslations();
    assert.strictEqual(run(t, READ, { rbx: 0x200000 }).vector, undefined);
    // An address that the second pointer maps now: still not present in the register.
    t.write64(CR3 + 8, 0x2001n);
    assert.strictEqual(error(run(t, READ, { rbx: 0x40000000 })), 0);
  });

  it('MOV to CR3 loads them', () => {
    const t = run(machine(), MOV_CR0, { rax: PG });
    t.write64(CR3 + 8, 0x2001n);
    t.write32(0x200000, 0xbeef);
    run(t, MOV_CR3 + READ, { rax: CR3, rbx: 0x40200000 }, 2);
    assert.strictEqual(t.get('rax'), 0xbeefn);
  });

  for (const bad of [0x2003n, 0x2005n, 0x2021n, 0x2101n, (1n << 63n) | 0x2001n, (1n << 40n) | 0x2001n]) {
    it(`a reserved bit in one (${bad.toString(16)}h) is #GP(0)`, () => {
      const t = run(machine(bad), MOV_CR0, { rax: PG }, 2);
      assert.strictEqual(t.vector, Vector.GP);
      assert.strictEqual(t.read32(Number(t.get('rsp'))), 0);
      assert.strictEqual(t.cpu.cr0 & Cr0.PG, 0);
    });
  }
  it('an entry that is not present has no reserved bits', () => {
    assert.strictEqual(run(machine(0x1e6n), MOV_CR0, { rax: PG }).vector, undefined);
  });
  it('a malformed one in MOV to CR3 leaves CR3 and the registers as they were', () => {
    const t = run(machine(), MOV_CR0, { rax: PG });
    t.write64(0xe000, 0x2003n);
    run(t, MOV_CR3, { rax: 0xe000 }, 2);
    assert.strictEqual(t.vector, Vector.GP);
    assert.strictEqual(t.cpu.get64(State.cr3), BigInt(CR3));
    assert.strictEqual(t.cpu.get64(State.pdpte), 0x2001n);
  });
  it('MOV to CR4 loads them when PGE changes, not when TSD does', () => {
    const t = run(machine(), MOV_CR0, { rax: PG });
    t.write64(CR3 + 8, 0x2001n);
    run(t, MOV_CR4, { rax: Cr4.PAE | Cr4.TSD });
    assert.strictEqual(t.cpu.get64(State.pdpte + 8), 0n);
    run(t, MOV_CR4, { rax: Cr4.PAE | Cr4.TSD | Cr4.PGE });
    assert.strictEqual(t.cpu.get64(State.pdpte + 8), 0x2001n);
  });
  it('bits 62:52 of an entry are reserved, and bit 63 without NXE', () => {
    for (const [bits, want] of [
      [1n << 52n, 9],
      [1n << 62n, 9],
      [1n << 63n, undefined],
    ] as const) {
      const t = machine();
      t.write64(0x2008, bits | 0x200087n);
      assert.strictEqual(error(run(run(t, MOV_CR0, { rax: PG }), READ, { rbx: 0x200000 })), want);
    }
    const t = machine();
    t.cpu.set64(State.efer, 0n);
    t.write64(0x2008, (1n << 63n) | 0x200087n);
    assert.strictEqual(error(run(run(t, MOV_CR0, { rax: PG }), READ, { rbx: 0x200000 })), 9);
  });
});

describe('translations', () => {
  it('a permission that was loosened works without INVLPG: a miss walks again', () => {
    const t = new TestMachine().enter('64');
    t.write64(0x3010, 0x4001n | 6n);
    t.write64(0x4000, BigInt(0x400000 | P | U));
    assert.strictEqual(error(run(t, '8903', { rbx: 0x400000 })), 3);
    t.write64(0x4000, BigInt(0x400000 | P | W | U));
    assert.strictEqual(run(t, '8903', { rbx: 0x400000 }).vector, undefined);
  });
});
