/**
 * Delivery in 64-bit mode when the soft TLBs know the handler's stack, and when they do not: the same frames. SDM Vol. 3A, "Interrupt
 * and Exception Handling": "64-Bit Mode Stack Frame", "Stack Switching in IA-32e Mode", "Interrupt Stack Table".
 */
import assert from 'node:assert';
import { SegmentIndex, State } from '../../../emulator-core/cpu/layout';
import { Cr4, Flag, Rights } from '../../../emulator-core/cpu/vcpu';
import { GDT, IDT, INTERRUPT_STACK, RING0_STACK, Selector, TSS, TestMachine, descriptor } from '../testMachine';

const CODE = 0x100000;
const STACK = 0x9ff8;
const [INTERRUPT_GATE, TRAP_GATE] = [0x8e, 0x8f];
const { cs: CS, ss: SS } = SegmentIndex;

/** Counts deliveries that the general code does: only those tell the VMM of an event under way. */
function general(t: TestMachine): () => number {
  let count = 0;
  Object.defineProperty(t.machine.vmm.recorder, 'vectoringInfo', {
    get: () => 0,
    set: (info) => (count += info ? 1 : 0),
  });
  return () => count;
}
function gate(t: TestMachine, vector: number, access: number, ist: number): void {
  t.write16(IDT + vector * 16 + 4, (access << 8) | ist);
}
/** Level 0 has written to the bytes below an address: its soft TLB knows the page. */
function warm(t: TestMachine, top: number): void {
  const { cpu } = t;
  const [cs, ss] = [CS, SS].map((s) => [cpu.selector(s), 0, cpu.segmentLimit(s), cpu.rights(s)] as const);
  const { rflags } = cpu;
  cpu.rflags = 2;
  t.segment('cs', Selector.code64, 0, 0xffffffff, 0xa09b);
  t.segment('ss', Selector.data, 0, 0xffffffff, 0xc093);
  t.run(CODE + 0x200, '48894bf8', { rbx: top }); // mov [rbx - 8], rcx
  t.segment('cs', ...cs);
  t.segment('ss', ...ss);
  cpu.rflags = rflags;
  cpu.modeChanged();
}

interface Case {
  what: string;
  cpl?: 0 | 3;
  /** With its vector and error code. */
  code?: string;
  vector: number;
  error?: number;
  access?: number;
  ist?: number;
  flags?: number;
  rsp?: bigint | number;
  top: number;
  prepare?: (t: TestMachine) => void;
  /** It is never the usual case. */
  unusual?: boolean;
}
const UD = { code: '0f0b', vector: 6 };
const cases: Case[] = [
  { what: 'on the present stack', ...UD, top: 0x9ff0 },
  { what: 'on a stack that is aligned', ...UD, rsp: 0xa000, top: 0xa000 },
  { what: 'with an error code', code: '8ed8', vector: 13, error: 0xf8, top: 0x9ff0 },
  { what: 'on an interrupt stack', ...UD, ist: 1, top: INTERRUPT_STACK },
  { what: 'on an interrupt stack, the last', ...UD, ist: 7, top: 0x9f00, prepare: (t) => t.write64(TSS + 84, 0x9f0fn) },
  { what: 'from level 3', cpl: 3, ...UD, top: RING0_STACK },
  { what: 'from level 3 with an error code', cpl: 3, code: 'f4', vector: 13, error: 0, top: RING0_STACK },
  { what: 'from level 3 on an interrupt stack', cpl: 3, ...UD, ist: 1, top: INTERRUPT_STACK },
  { what: 'through a trap gate', ...UD, access: TRAP_GATE, flags: 0x202, top: 0x9ff0 },
  { what: 'through an interrupt gate', ...UD, flags: 0x202, top: 0x9ff0 },
  { what: 'with flags', ...UD, flags: 0x3ed7 | Flag.NT | Flag.ID | Flag.VIF, top: 0x9ff0 },
  {
    what: 'over the end of a page',
    ...UD,
    rsp: 0xa010,
    top: 0xa010,
    unusual: true,
  },
  {
    what: 'to code whose descriptor was not accessed yet',
    ...UD,
    top: 0x9ff0,
    prepare: (t) => t.write64(GDT + Selector.code64, descriptor(0, 0xfffff, 0x9a, 0xa)),
    unusual: true,
  },
  {
    what: 'to conforming code',
    cpl: 3,
    ...UD,
    rsp: 0xa000,
    top: 0xa000,
    prepare: (t) => t.write64(GDT + Selector.code64, descriptor(0, 0xfffff, 0x9f, 0xa)),
    unusual: true,
  },
];

describe('delivery in 64-bit mode', () => {
  for (const c of cases) {
    for (const known of [true, false]) {
      it(`${c.what}, the stack ${known ? 'known' : 'not known'} to the soft TLB`, () => {
        const cpl = c.cpl ?? 0;
        const t = new TestMachine().enter('64', cpl);
        gate(t, c.vector, c.access ?? INTERRUPT_GATE, c.ist ?? 0);
        c.prepare?.(t);
        if (known) warm(t, c.top);
        const count = general(t);
        const flags = c.flags ?? 2;
        t.cpu.rflags = flags;
        const conforming = c.what === 'to conforming code';
        const level = conforming ? cpl : 0;
        const rsp = BigInt(c.rsp ?? STACK);
        t.run(CODE, c.code ?? '', { rsp, rax: 0xf8 });
        assert.strictEqual(t.vector, c.vector);
        assert.strictEqual(count(), known && !c.unusual ? 0 : 1);
        const words = [BigInt(CODE), cpl ? 0x43n : 0x08n, BigInt(flags | Flag.RF), rsp, cpl ? 0x3bn : 0x10n];
        if (c.error !== undefined) words.unshift(BigInt(c.error));
        const bottom = c.top - words.length * 8;
        assert.strictEqual(Number(t.get('rsp')), bottom);
        words.forEach((word, i) => assert.strictEqual(t.read64(bottom + i * 8), word, `word ${i}`));
        const cleared = Flag.TF | Flag.NT | Flag.RF | ((c.access ?? INTERRUPT_GATE) === TRAP_GATE ? 0 : Flag.IF);
        assert.strictEqual(t.cpu.rflags, flags & ~cleared);
        assert.deepStrictEqual([t.cpu.cpl, t.cpu.bitness], [level, 64]);
        assert.deepStrictEqual([t.selector('cs'), t.cpu.segmentLimit(CS)], [Selector.code64 | level, 0xffffffff]);
        assert.strictEqual(t.cpu.rights(CS), conforming ? 0xa09f : 0xa09b);
        if (cpl && !conforming) {
          // A null selector whose RPL is the new level.
          assert.deepStrictEqual([t.selector('ss'), t.cpu.rights(SS)], [0, Rights.unusable]);
        } else assert.strictEqual(t.selector('ss'), cpl ? 0x3b : 0x10);
      });
    }
  }

  it('an interrupt pushes RFLAGS as it is, without RF', () => {
    for (const known of [true, false]) {
      const t = new TestMachine().enter('64', 3);
      gate(t, 0x50, INTERRUPT_GATE, 0);
      if (known) warm(t, RING0_STACK);
      const count = general(t);
      const apic = t.machine.platform.apic(0);
      apic.writeRegister(0xf0, 0x1ff);
      apic.accept({ destination: 0, logical: false, mode: 0, vector: 0x50, level: false });
      t.cpu.rflags = 0x202;
      t.run(CODE, '90', { rsp: STACK });
      assert.deepStrictEqual([t.vector, count()], [0x50, known ? 0 : 1]);
      const frame = [CODE, 0x43, 0x202, STACK, 0x3b].map(BigInt);
      frame.forEach((word, i) => assert.strictEqual(t.read64(RING0_STACK - 40 + i * 8), word));
      assert.strictEqual(t.cpu.interruptsEnabled, false);
    }
  });

  it('SMAP: the handler’s stack may be a user page only with AC', () => {
    for (const ac of [false, true]) {
      const t = new TestMachine().enter('64');
      // 600000h is a user page, code and tables are the supervisor's.
      for (let i = 0; i < 8; i++) t.write64(0x3000 + i * 8, BigInt(i * 0x200000 + (i === 3 ? 0x87 : 0x83)));
      t.cpu.set64(State.cr4, BigInt(Cr4.PAE | Cr4.SMAP));
      gate(t, 6, INTERRUPT_GATE, 0);
      t.cpu.rflags = 2 | Flag.AC;
      t.cpu.modeChanged();
      t.machine.core.flushAllTranslations();
      // The page is known to the soft TLB of a suspended SMAP.
      t.run(CODE, '50', { rsp: 0x602000 });
      t.cpu.rflags = ac ? 2 | Flag.AC : 2;
      t.cpu.modeChanged();
      t.run(CODE, '0f0b', { rsp: 0x602000 });
      // Without AC the delivery is a page fault, whose own is on an interrupt stack.
      assert.strictEqual(t.vector, ac ? 6 : 14);
    }
  });

  it('a watched stack tells of its writes', () => {
    const seen: number[] = [];
    const hooks = { watch: (_: unknown, linear: bigint) => (seen.push(Number(linear)), false) };
    const t = new TestMachine({}, hooks).enter('64');
    gate(t, 6, INTERRUPT_GATE, 0);
    warm(t, 0x9ff0);
    t.cpu.set64(State.dr, BigInt(0x9fe8));
    t.cpu.set64(State.dr + 7 * 8, 0xd0402n); // 4 bytes, writes
    t.cpu.debug.update();
    t.machine.core.flushAllTranslations();
    t.run(CODE, '0f0b', { rsp: STACK });
    assert.strictEqual(seen.includes(0x9fe8), true);
  });

  it('a handler that is not canonical is #GP with the vector’s error code as before', () => {
    const t = new TestMachine().enter('64');
    gate(t, 6, INTERRUPT_GATE, 0);
    warm(t, 0x9ff0);
    t.write64(IDT + 6 * 16 + 8, 0x8000n);
    t.run(CODE, '0f0b', { rsp: STACK });
    assert.strictEqual(t.vector, 13);
  });

  it('limits of IDT, GDT and TSS hold: then nothing can be delivered', () => {
    const limits: ((t: TestMachine) => void)[] = [
      (t) => t.cpu.set64(State.idtrLimit, 6n * 16n + 14n),
      (t) => t.cpu.set64(State.gdtrLimit, BigInt(Selector.code64 + 6)),
      (t) => t.segment('tr', Selector.tss, TSS, 10, 0x8b),
    ];
    for (const limit of limits) {
      const t = new TestMachine().enter('64', 3);
      gate(t, 6, INTERRUPT_GATE, 0);
      warm(t, RING0_STACK);
      limit(t);
      t.run(CODE, '0f0b', { rsp: STACK });
      assert.strictEqual(t.machine.end?.kind, 'triple fault');
    }
  });

  it('a page fault that its handler mends: CR2, error code and RF, many times', () => {
    const t = new TestMachine().enter('64');
    t.write64(0x3000 + 2 * 8, BigInt(0xd007)); // 400000h in pages of 4 KiB, none present
    gate(t, 14, INTERRUPT_GATE, 0);
    // mov rax, cr2; mov edx, eax; shr edx, 12; and edx, 1ffh; or eax, 7; mov [d000h + rdx * 8], rax; add r15, [rsp]; add rsp, 8; iretq
    t.writeHex(
      0x7f00,
      '0f20d0' +
        '89c2' +
        'c1ea0c' +
        '81e2ff010000' +
        '83c807' +
        '488904d5' +
        '00d00000' +
        '4c033c24' +
        '4883c408' +
        '48cf',
    );
    t.write32(IDT + 14 * 16, 0x7f00 | (Selector.code64 << 16));
    // mov [rbx], ebx; add ebx, 1000h; dec ecx; jnz
    t.run(
      CODE,
      '891b' + '81c300100000' + 'ffc9' + '75f4' + 'ebfe',
      { rbx: 0x400000, rcx: 100, rsp: STACK, r15: 0 },
      1500,
    );
    for (let i = 0; i < 100; i++) assert.strictEqual(t.read32(0x400000 + i * 4096), 0x400000 + i * 4096);
    // A write to an absent page by a supervisor.
    assert.strictEqual(Number(t.get('r15')), 100 * 2);
    assert.strictEqual(Number(t.cpu.rip), CODE + 12);
    assert.strictEqual(t.cpu.rflags & Flag.RF, 0);
    assert.strictEqual(Number(t.get('rsp')), STACK);
  });
});
