/**
 * SYSCALL, SYSRET, IRETQ and SWAPGS in 64-bit mode: the usual case, which handlers do, and what they leave to the assists.
 * SDM Vol. 2 and APM Vol. 3, the instructions' pages, "Operation"; SDM Vol. 3A, "Interrupt and Exception Handling"; Vol. 3B, "Debug
 * Exceptions".
 */
import assert from 'node:assert';
import { SegmentIndex, State } from '../../../emulator-core/cpu/layout';
import { Cr0, Cr4, Flag, Rights } from '../../../emulator-core/cpu/vcpu';
import { CODES } from '../../../emulator-core/x86/codes';
import { GDT, HANDLERS, Selector, TestMachine, descriptor, toHex } from '../testMachine';

const CODE = 0x100000;
const TARGET = 0x120000;
const STACK = 0x9000;
const NOT_CANONICAL = 1n << 47n;
const SYSCALL = '0f05';
const SYSRET = '480f07';
const IRETQ = '48cf';
const { cs: CS, ss: SS, ds: DS } = SegmentIndex;

/** Mnemonics of the assists that the machine runs from now on. */
function assistsOf(t: TestMachine): string[] {
  const names: string[] = [];
  const { machine } = t;
  const run = machine.assist.bind(machine);
  machine.assist = (cpu, uop) => {
    const code = machine.memory.u16[(uop + 60) >> 1];
    names.push(CODES[code]?.row.mnemonic ?? String(code));
    return run(cpu, uop);
  };
  return names;
}

function machine(cpl: 0 | 3, vendor: 'intel' | 'amd' = 'intel'): TestMachine {
  const t = new TestMachine({ vendor }).enter('64', cpl);
  const { cpu } = t;
  cpu.set64(State.star, (0x33n << 48n) | (0x0bn << 32n));
  cpu.set64(State.lstar, BigInt(TARGET));
  cpu.set64(State.fmask, 0x700n);
  for (const s of ['ds', 'es', 'fs', 'gs'] as const) t.segment(s, 0, 0, 0, Rights.unusable);
  t.set({ rsp: STACK });
  return t;
}

const segment = (t: TestMachine, s: number): unknown[] => [
  t.cpu.selector(s),
  t.cpu.segmentBase(s),
  t.cpu.segmentLimit(s),
  t.cpu.rights(s),
];
const flat = (selector: number, rights: number): unknown[] => [selector, 0n, 0xffffffff, rights];
/** Rights of the test GDT's segments as the hidden part has them. */
const [CODE0, DATA0, CODE3, DATA3] = [0xa09b, 0xc093, 0xa0fb, 0xc0f3];

/** Which soft TLB a level uses, seen by what it may do: a supervisor page faults for users only. */
function levelShows(t: TestMachine): void {
  const user = t.cpu.cpl === 3;
  t.write64(0x3000 + 3 * 8, BigInt(0x600000 | 0x83)); // a supervisor page of 2 MiB
  t.machine.core.flushAllTranslations();
  t.run(Number(t.cpu.rip), '8b03', { rbx: 0x600000 }); // mov eax, [rbx]
  assert.strictEqual(t.vector, user ? 14 : undefined);
}

describe('SYSCALL', () => {
  it('from levels 3 and 0: registers, flags, CS and SS', () => {
    for (const cpl of [3, 0] as const) {
      for (const flags of [0x2, 0x202, 0xed7, 0x246 | Flag.ID | Flag.NT]) {
        const t = machine(cpl);
        const assists = assistsOf(t);
        t.cpu.rflags = flags;
        t.run(CODE, SYSCALL);
        assert.deepStrictEqual(assists, []);
        assert.deepStrictEqual([t.cpu.rip, t.get('rcx'), t.get('rsp')], [BigInt(TARGET), BigInt(CODE + 2), 0x9000n]);
        assert.strictEqual(Number(t.get('r11')), flags);
        assert.strictEqual(t.cpu.rflags, flags & ~0x700);
        assert.strictEqual(t.cpu.get64(State.direction), 1n);
        // STAR's selectors without their RPL.
        assert.deepStrictEqual(segment(t, CS), flat(0x08, CODE0));
        assert.deepStrictEqual(segment(t, SS), flat(0x10, DATA0));
        assert.deepStrictEqual([t.cpu.cpl, t.cpu.bitness], [0, 64]);
        levelShows(t);
      }
    }
  });

  it('IA32_FMASK takes any flag', () => {
    const t = machine(3);
    t.cpu.set64(State.fmask, 0xffffffffn);
    t.cpu.rflags = 0xad7;
    t.run(CODE, SYSCALL);
    assert.deepStrictEqual([t.cpu.rflags, Number(t.get('r11'))], [2, 0xad7]);
  });

  it('without EFER.SCE is #UD', () => {
    const t = machine(3);
    t.cpu.set64(State.efer, t.cpu.get64(State.efer) & ~1n);
    assert.strictEqual(t.run(CODE, SYSCALL).vector, 6);
  });

  it('with TF: the single-step trap goes by TF as IA32_FMASK leaves it', () => {
    const kept = machine(3);
    kept.cpu.set64(State.fmask, 0x200n);
    kept.cpu.rflags = 0x302;
    kept.run(CODE, SYSCALL);
    kept.machine.run(1);
    assert.deepStrictEqual([kept.vector, Number(kept.read64(Number(kept.get('rsp'))))], [1, TARGET]);
    const masked = machine(3);
    masked.cpu.rflags = 0x302;
    masked.writeHex(TARGET, '90');
    masked.run(CODE, SYSCALL, {}, 2);
    assert.deepStrictEqual([masked.vector, masked.cpu.rip], [undefined, BigInt(TARGET + 1)]);
    assert.strictEqual(Number(masked.get('r11')), 0x302);
  });

  it('out of code with alignment checks, which level 0 has not', () => {
    const t = machine(3);
    t.cpu.set64(State.cr0, t.cpu.get64(State.cr0) | BigInt(Cr0.AM));
    t.cpu.rflags = 2 | Flag.AC;
    t.cpu.modeChanged();
    t.writeHex(TARGET, '8b03');
    t.run(CODE, SYSCALL, { rbx: 0x20001 }, 2);
    assert.deepStrictEqual([t.vector, t.cpu.rip], [undefined, BigInt(TARGET + 2)]);
  });

  it('SMAP holds in the kernel, but for AC', () => {
    for (const ac of [false, true]) {
      const t = machine(3);
      t.cpu.set64(State.cr4, BigInt(Cr4.PAE | Cr4.SMAP));
      t.cpu.rflags = ac ? 2 | Flag.AC : 2;
      t.cpu.modeChanged();
      // Code and stack of level 0 are supervisor pages.
      t.write64(0x3000, BigInt(0x83));
      t.write64(0x2000, BigInt(0x3007));
      t.write64(0x3000 + 3 * 8, BigInt(0x600000 | 0x87));
      t.machine.core.flushAllTranslations();
      t.writeHex(0x600000, SYSCALL);
      t.writeHex(TARGET, '8b03');
      t.set({ rbx: 0x601000 });
      t.cpu.rip = 0x600000n;
      t.machine.run(2);
      assert.strictEqual(t.vector, ac ? undefined : 14);
    }
  });
});

describe('SYSRET', () => {
  it('to level 3, by vendor: registers, flags, CS and SS', () => {
    for (const vendor of ['intel', 'amd'] as const) {
      for (const r11 of [2n, 0x202n, 0xad7n, 0xfffffffffffbfeffn]) {
        const t = machine(0, vendor);
        const assists = assistsOf(t);
        t.segment('ss', Selector.data, 0x1000, 0xfffff, 0xc093);
        t.run(CODE, SYSRET, { rcx: TARGET, r11 });
        assert.deepStrictEqual(assists, []);
        assert.deepStrictEqual([t.cpu.rip, t.get('rcx'), t.get('r11')], [BigInt(TARGET), BigInt(TARGET), r11]);
        // "RFLAGS := (R11 & 3C7FD7H) | 2"
        assert.strictEqual(t.cpu.rflags, Number(r11 & 0x3c7fd7n) | 2);
        assert.deepStrictEqual(segment(t, CS), flat(0x43, CODE3));
        assert.deepStrictEqual(segment(t, SS), vendor === 'amd' ? [0x3b, 0x1000n, 0xfffff, DATA3] : flat(0x3b, DATA3));
        assert.deepStrictEqual([t.cpu.cpl, t.cpu.bitness], [3, 64]);
        levelShows(t);
      }
    }
  });

  it('in level 3, or to a non-canonical address on Intel processors, is #GP(0)', () => {
    assert.strictEqual(machine(3).run(CODE, SYSRET, { rcx: TARGET, r11: 2 }).vector, 13);
    const t = machine(0).run(CODE, SYSRET, { rcx: NOT_CANONICAL, r11: 2 });
    assert.deepStrictEqual([t.vector, Number(t.read64(Number(t.get('rsp')))), t.cpu.cpl], [13, 0, 0]);
    assert.strictEqual(Number(t.read64(Number(t.get('rsp')) + 8)), CODE);
  });

  it('with TF in R11: #DB before the first instruction there', () => {
    const t = machine(0);
    t.writeHex(TARGET, '90');
    t.run(CODE, SYSRET, { rcx: TARGET, r11: 0x102 });
    assert.deepStrictEqual([t.vector, Number(t.read64(Number(t.get('rsp'))))], [1, TARGET]);
    assert.strictEqual(Number(t.read64(Number(t.get('rsp')) + 8)), Selector.userCode64);
  });

  it('with TF before and not in R11: no #DB', () => {
    const t = machine(0);
    t.writeHex(TARGET, '90');
    t.cpu.rflags = 0x102;
    t.run(CODE, SYSRET, { rcx: TARGET, r11: 2 }, 2);
    assert.deepStrictEqual([t.vector, t.cpu.rip], [undefined, BigInt(TARGET + 1)]);
  });

  it('into code with alignment checks', () => {
    const t = machine(0);
    t.cpu.set64(State.cr0, t.cpu.get64(State.cr0) | BigInt(Cr0.AM));
    t.writeHex(TARGET, '8b03');
    t.run(CODE, SYSRET, { rbx: 0x20001, rcx: TARGET, r11: 2 | Flag.AC }, 2);
    assert.strictEqual(t.vector, 17);
  });
});

/** Loads that make the soft TLB know the frame and the GDT. */
const WARM = '488b0424' + '488b0425' + '00500000'; // mov rax, [rsp]; mov rax, [GDT]

interface Frame {
  rip?: bigint | number;
  cs?: number;
  flags?: number;
  rsp?: bigint | number;
  ss?: number;
}
function frame(t: TestMachine, f: Frame = {}): void {
  const values = [
    f.rip ?? TARGET,
    f.cs ?? Selector.userCode64,
    f.flags ?? 2,
    f.rsp ?? 0xa000,
    f.ss ?? Selector.userData,
  ];
  values.forEach((value, i) => t.write64(STACK + i * 8, BigInt(value)));
}
/** IRETQ with a frame, after the loads of WARM; assists that ran. */
function interruptReturn(t: TestMachine, f?: Frame, more = 0): string[] {
  frame(t, f);
  const assists = assistsOf(t);
  t.run(CODE, WARM + IRETQ, { rsp: STACK }, 3 + more);
  return assists;
}

describe('IRETQ', () => {
  const usual: [string, Frame, { cs: unknown[]; ss: unknown[]; cpl: number }][] = [
    ['to level 3', {}, { cs: flat(0x43, CODE3), ss: flat(0x3b, DATA3), cpl: 3 }],
    ['to level 0', { cs: 0x08, ss: 0x10 }, { cs: flat(0x08, CODE0), ss: flat(0x10, DATA0), cpl: 0 }],
    [
      'to level 0 with a null SS',
      { cs: 0x08, ss: 0 },
      { cs: flat(0x08, CODE0), ss: [0, 0n, 0, Rights.unusable], cpl: 0 },
    ],
    [
      'to a high address',
      { cs: 0x08, ss: 0x10, rsp: 0xffff800000001230n },
      { cs: flat(0x08, CODE0), ss: flat(0x10, DATA0), cpl: 0 },
    ],
  ];
  for (const [what, f, expected] of usual) {
    for (const known of [true, false]) {
      it(`${what}, the soft TLB ${known ? 'has' : 'has not'} what it reads`, () => {
        const flags = [0x2, 0x202, 0xed7 & ~Flag.TF, 0x3246 | Flag.ID | Flag.NT | Flag.VIF | Flag.VIP | Flag.AC];
        for (const value of flags) {
          const t = machine(0);
          let assists: string[];
          // Bits that RFLAGS does not have, and VM, which an IRETQ never loads.
          const image = value | 0x8028 | Flag.VM;
          if (known) assists = interruptReturn(t, { ...f, flags: image });
          else {
            frame(t, { ...f, flags: image });
            assists = assistsOf(t);
            t.run(CODE, IRETQ);
          }
          assert.deepStrictEqual(assists, known ? [] : ['Iretq']);
          assert.strictEqual(t.vector, undefined);
          assert.deepStrictEqual([t.cpu.rip, t.get('rsp')], [BigInt(TARGET), BigInt(f.rsp ?? 0xa000)]);
          assert.strictEqual(t.cpu.rflags, value);
          assert.strictEqual(t.cpu.get64(State.direction), value & Flag.DF ? 0xffffffffffffffffn : 1n);
          assert.deepStrictEqual(segment(t, CS), expected.cs);
          assert.deepStrictEqual(segment(t, SS), expected.ss);
          assert.strictEqual(t.cpu.cpl, expected.cpl);
          if (!f.rsp) levelShows(t);
        }
      });
    }
  }

  it('takes base and limit from the descriptors', () => {
    const t = machine(0);
    t.write64(GDT + Selector.free, descriptor(0x12345678, 0x54321, 0xf3, 4));
    assert.deepStrictEqual(interruptReturn(t, { ss: Selector.free | 3 }), []);
    assert.deepStrictEqual(segment(t, SS), [Selector.free | 3, 0x12345678n, 0x54321, 0x40f3]);
    const pages = machine(0);
    pages.write64(GDT + Selector.free, descriptor(0xfedcba98, 0x54321, 0xf7, 8));
    assert.deepStrictEqual(interruptReturn(pages, { ss: Selector.free | 3 }), []);
    assert.deepStrictEqual(segment(pages, SS), [Selector.free | 3, 0xfedcba98n, 0x54321fff, 0x80f7]);
  });

  it('sets the accessed bits of descriptors', () => {
    const t = machine(0);
    t.write64(GDT + 0x40, descriptor(0, 0xfffff, 0xfa, 0xa));
    t.write64(GDT + 0x38, descriptor(0, 0xfffff, 0xf2, 0xc));
    interruptReturn(t);
    assert.deepStrictEqual([t.read(GDT + 0x45, 1)[0], t.read(GDT + 0x3d, 1)[0]], [0xfb, 0xf3]);
    assert.deepStrictEqual([segment(t, CS), segment(t, SS)], [flat(0x43, CODE3), flat(0x3b, DATA3)]);
  });

  const faults: [string, Frame, vector: number, error: number, before?: (t: TestMachine) => void][] = [
    ['a non-canonical address', { rip: NOT_CANONICAL }, 13, 0],
    ['a null CS', { cs: 3 }, 13, 0],
    ['a CS of data', { cs: Selector.userData }, 13, 0x38],
    ['a CS outside of the GDT', { cs: 0x103 }, 13, 0x100],
    ['a CS in an LDT that is none', { cs: 0x47 }, 13, 0x44],
    ['a CS whose DPL is not its RPL', { cs: 0x0b }, 13, 0x08],
    ['a CS for 64-bit code with D', { cs: 0x63 }, 13, 0x60, (t) => t.write64(GDT + 0x60, descriptor(0, 0, 0xfb, 0x6))],
    ['a CS that is not present', { cs: 0x63 }, 11, 0x60, (t) => t.write64(GDT + 0x60, descriptor(0, 0, 0x7b, 0x2))],
    ['a null SS in level 3', { ss: 3 }, 13, 0],
    ['an SS of another RPL', { ss: 0x38 }, 13, 0x38],
    ['an SS of another DPL', { ss: 0x13 }, 13, 0x10],
    ['an SS that is not writable', { ss: 0x63 }, 13, 0x60, (t) => t.write64(GDT + 0x60, descriptor(0, 0, 0xf1, 0x4))],
    ['an SS that is not present', { ss: 0x63 }, 12, 0x60, (t) => t.write64(GDT + 0x60, descriptor(0, 0, 0x73, 0x4))],
    ['NT set', {}, 13, 0, (t) => (t.cpu.rflags = 2 | Flag.NT)],
  ];
  for (const [what, f, vector, error, before] of faults) {
    it(`${what} is a fault, and nothing has changed`, () => {
      const t = machine(0);
      before?.(t);
      interruptReturn(t, f);
      assert.strictEqual(t.vector, vector);
      const at = Number(t.get('rsp'));
      assert.strictEqual(Number(t.read64(at)), error);
      assert.strictEqual(Number(t.read64(at + 8)), CODE + WARM.length / 2);
      assert.deepStrictEqual([Number(t.read64(at + 16)), Number(t.read64(at + 32))], [Selector.code64, STACK]);
      assert.strictEqual(Number(t.read64(at + 40)), Selector.data);
    });
  }

  it('to compatibility mode', () => {
    const t = machine(0);
    interruptReturn(t, { cs: Selector.userCode32 });
    assert.deepStrictEqual([t.cpu.bitness, t.cpu.cpl, segment(t, CS)], [32, 3, flat(0x33, 0xc0fb)]);
  });

  it('to level 3 makes data segments of inner levels null', () => {
    const t = machine(0);
    t.segment('ds', Selector.data, 0, 0xffffffff, 0xc093);
    t.segment('es', Selector.userData, 0, 0xffffffff, 0xc0f3);
    interruptReturn(t);
    assert.deepStrictEqual([t.selector('ds'), t.selector('es'), t.cpu.cpl], [0, 0x3b, 3]);
    assert.ok(t.cpu.rights(DS) & Rights.unusable);
  });

  it('from level 3 changes neither IOPL nor IF', () => {
    const t = machine(3);
    interruptReturn(t, { flags: 0x3ad7 });
    assert.deepStrictEqual([t.cpu.cpl, t.cpu.rflags], [3, 0x8d7]);
  });

  it('over the end of a page', () => {
    const t = machine(0);
    const at = 0x20ff0;
    [TARGET, Selector.userCode64, 2, 0xa000, Selector.userData].forEach((v, i) => t.write64(at + i * 8, BigInt(v)));
    t.run(CODE, WARM + IRETQ, { rsp: at }, 3);
    assert.deepStrictEqual([t.cpu.rip, t.cpu.cpl, t.get('rsp')], [BigInt(TARGET), 3, 0xa000n]);
  });

  it('with TF in the frame: #DB after one instruction there', () => {
    const t = machine(0);
    t.writeHex(TARGET, '9090');
    interruptReturn(t, { flags: 0x102 }, 2);
    assert.deepStrictEqual([t.vector, Number(t.read64(Number(t.get('rsp'))))], [1, TARGET + 1]);
  });

  it('into code with alignment checks', () => {
    const t = machine(0);
    t.cpu.set64(State.cr0, t.cpu.get64(State.cr0) | BigInt(Cr0.AM));
    t.writeHex(TARGET, '8b03');
    t.set({ rbx: 0x20001 });
    interruptReturn(t, { flags: 2 | Flag.AC }, 1);
    assert.strictEqual(t.vector, 17);
  });
});

describe('RFLAGS.RF behind IRETQ', () => {
  it('is set until the next instruction has run', () => {
    const t = machine(0);
    t.writeHex(TARGET, '9090');
    assert.deepStrictEqual(interruptReturn(t, { flags: 2 | Flag.RF }), []);
    assert.strictEqual(t.cpu.rflags, 2 | Flag.RF);
    t.machine.run(1);
    assert.strictEqual(t.cpu.rflags, 2);
    const through = machine(0);
    through.writeHex(TARGET, '9090');
    interruptReturn(through, { flags: 2 | Flag.RF }, 1);
    assert.deepStrictEqual([through.cpu.rip, through.cpu.rflags], [BigInt(TARGET + 1), 2]);
  });

  it('passes an instruction breakpoint once', () => {
    for (const rf of [0, Flag.RF]) {
      const t = machine(0);
      t.writeHex(TARGET, '90ebfd'); // nop; jmp nop
      t.cpu.set64(State.dr, BigInt(TARGET));
      t.cpu.set64(State.dr + 7 * 8, 0x402n);
      t.cpu.debug.update();
      interruptReturn(t, { flags: 2 | rf }, 1);
      assert.deepStrictEqual([t.vector, t.cpu.rip], rf ? [undefined, BigInt(TARGET + 1)] : [1, BigInt(HANDLERS + 16)]);
      if (rf) {
        t.machine.run(2);
        assert.strictEqual(t.vector, 1);
      }
    }
  });

  it('is still set when a stop at an exit leaves the instruction undone', () => {
    let stops = 0;
    const t = new TestMachine({}, { exit: () => ++stops === 1 }).enter('64');
    t.writeHex(TARGET, '0fa2ebfe'); // cpuid; jmp $
    // Once before, so that the jump cache has the target.
    for (const s of ['ds', 'es', 'fs', 'gs'] as const) t.segment(s, 0, 0, 0, Rights.unusable);
    t.cpu.rip = BigInt(TARGET);
    stops = 1;
    t.machine.run(1);
    stops = 0;
    frame(t, { cs: 0x08, ss: 0x10, flags: 2 | Flag.RF });
    t.run(CODE, WARM + IRETQ, { rsp: STACK }, 10);
    assert.deepStrictEqual([stops, t.cpu.rip, t.cpu.rflags], [1, BigInt(TARGET), 2 | Flag.RF]);
    t.machine.resume();
    t.machine.run(1);
    assert.deepStrictEqual([t.cpu.rip, t.cpu.rflags], [BigInt(TARGET + 2), 2]);
  });
});

describe('interrupts that wait for IRETQ or SYSRET', () => {
  const VECTOR = 0x50;
  /** Code in the middle of which the guest sends itself an interrupt. */
  const SEND = 'c703' + '50000400'; // mov dword [rbx], 40050h
  function withApic(): TestMachine {
    const t = machine(0);
    t.write64(0x2000 + 3 * 8, BigInt(0xd007));
    t.write64(0xd000 + 0x1f7 * 8, BigInt(0xfee00087));
    t.machine.core.flushAllTranslations();
    t.machine.platform.apic(0).writeRegister(0xf0, 0x1ff);
    t.writeHex(TARGET, '49ffc7ebfe'); // inc r15; jmp $
    t.set({ rbx: 0xfee00300, r15: 0 });
    return t;
  }
  const taken = (t: TestMachine): void => {
    assert.strictEqual(t.vector, VECTOR);
    const at = Number(t.get('rsp'));
    assert.deepStrictEqual([Number(t.read64(at)), Number(t.read64(at + 16)) & Flag.IF], [TARGET, Flag.IF]);
    assert.strictEqual(t.get('r15'), 0n);
  };

  it('is taken right behind the one that sets IF', () => {
    for (const [cs, ss] of [[0x08, 0x10], [0x43, 0x3b]] as const) {
      const t = withApic();
      frame(t, { cs, ss, flags: 0x202 });
      t.run(CODE, SEND + WARM + IRETQ, {}, 5);
      taken(t);
    }
    const t = withApic();
    t.run(CODE, SEND + SYSRET, { rcx: TARGET, r11: 0x202 }, 3);
    taken(t);
  }); // prettier-ignore

  it('waits on when IF stays 0, and costs nothing', () => {
    const t = withApic();
    frame(t, { flags: 2 });
    const assists = assistsOf(t);
    t.run(CODE, SEND + WARM + IRETQ, {}, 5);
    assert.deepStrictEqual([t.vector, t.get('r15'), assists], [undefined, 1n, []]);
  });

  it('from outside, before the run', () => {
    const t = withApic();
    frame(t, { flags: 0x202 });
    t.machine.platform.apic(0).accept({ destination: 0, logical: false, mode: 0, vector: VECTOR, level: false });
    t.run(CODE, WARM + IRETQ, {}, 4);
    taken(t);
  });

  it('an NMI that was blocked comes behind IRETQ', () => {
    const t = withApic();
    t.writeHex(HANDLERS + 0x20, '49ffc6' + IRETQ); // inc r14; iretq
    t.writeHex(CODE, '90ebfd');
    t.cpu.rip = BigInt(CODE);
    t.machine.delivery.raiseNmi(t.cpu);
    t.machine.run(1);
    t.machine.delivery.raiseNmi(t.cpu);
    t.machine.run(2);
    assert.deepStrictEqual([t.get('r14'), Number(t.cpu.rip)], [2n, HANDLERS + 0x23]);
  });
});

describe('SWAPGS', () => {
  it('exchanges the bases without leaving the block', () => {
    const t = machine(0);
    const assists = assistsOf(t);
    t.cpu.set64(State.kernelGsBase, 0x20000n);
    t.write64(0x20008, 0x77n);
    t.run(CODE, '0f01f8' + '65488b042508000000' + '0f01f8', {}, 3); // swapgs; mov rax, [gs:8]; swapgs
    assert.deepStrictEqual([t.get('rax'), t.cpu.segmentBase(SegmentIndex.gs), assists], [0x77n, 0n, []]);
    assert.strictEqual(t.cpu.get64(State.kernelGsBase), 0x20000n);
  });
});

describe('a user program that calls the kernel', () => {
  const ROUNDS = 40;
  /** inc eax; syscall; jmp. The kernel goes back by SYSRET and by IRETQ, in turns. */
  function program(): TestMachine {
    const t = machine(3);
    const leave = '65488b2425' + '08000000' + '0f01f8'; // mov rsp, [gs:8]; swapgs
    t.writeHex(CODE, 'ffc0' + SYSCALL + 'ebfa');
    t.writeHex(
      TARGET,
      '0f01f8' +
        '6548892425' +
        '08000000' + // swapgs; mov [gs:8], rsp
        '65488b2425' +
        '00000000' + // mov rsp, [gs:0]
        '49ffc7' +
        '41f6c701' + // inc r15; test r15b, 1
        '750f' + // jnz iret
        leave +
        SYSRET +
        // iret: push 3bh; push [gs:8]; push r11, with RF; push 43h; push rcx; swapgs; iretq
        '6a3b' +
        '65ff342508000000' +
        '490fbaeb10' + // bts r11, 16
        '4153' +
        '6a43' +
        '51' +
        '0f01f8' +
        IRETQ,
    );
    t.cpu.set64(State.kernelGsBase, 0x20000n);
    t.write64(0x20000, 0xa000n);
    t.cpu.rflags = 0x246;
    t.cpu.rip = BigInt(CODE);
    t.set({ rax: 0, r15: 0 });
    return t;
  }
  const state = (t: TestMachine): string =>
    [
      t.machine.core.retired,
      ...Array.from({ length: 16 }, (_, i) => t.cpu.gpr(i).toString(16)),
      ...[t.cpu.rip, t.cpu.rflags, t.cpu.cpl].map((x) => x.toString(16)),
      ...[CS, SS].flatMap((s) => segment(t, s)),
      t.cpu.segmentBase(SegmentIndex.gs),
      toHex(t.read(0x9f80, 0x80)),
    ].join(' ');

  it('passes through the same states however the run is sliced', () => {
    const total = ROUNDS * 12;
    const states: string[] = [];
    const single = program();
    for (let i = 0; i <= total; i++) {
      states.push(state(single));
      single.machine.run(1);
    }
    for (const slices of [[total], [2, 3, 5, 7], [13], [64, 1], [17, 100]]) {
      const t = program();
      for (let n = 0, i = 0; n < total; i++) {
        const step = Math.min(slices[i % slices.length], total - n);
        assert.strictEqual(t.machine.run(step), 'budget');
        n += step;
        assert.strictEqual(state(t), states[n], `after ${n} in slices of ${slices.join(', ')}`);
      }
      assert.strictEqual(t.vector, undefined);
    }
  });

  it('leaves WebAssembly for none of it once its pages are known', () => {
    const t = program();
    t.machine.run(200);
    const assists = assistsOf(t);
    t.machine.run(400);
    assert.deepStrictEqual([...new Set(assists)], []);
  });
});
