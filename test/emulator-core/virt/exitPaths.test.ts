/**
 * Exits are recorded by handlers, by compiled code and by the VMM, and what a guest gets may come from what is known already: nobody
 * can tell which it was.
 */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr4 } from '../../../emulator-core/cpu/vcpu';
import type { MachineHooks } from '../../../emulator-core/machine';
import { EXIT_LOG_SIZE } from '../../../emulator-core/virt/exit';
import { ExitReason } from '../../../emulator-core/virt/vmx/exitReasons';
import { HANDLERS, TestMachine, TSS } from '../testMachine';
import { left } from './runRemains';

const CODE = 0x100000;
const MODES = ['off', 'auto', 'always'] as const;
/** Where the local APIC's page is mapped. */
const APIC = 0x600000;

function machine(
  compile: (typeof MODES)[number],
  hooks: Partial<MachineHooks> = {},
  features: string[] = [],
): TestMachine {
  const t = new TestMachine({ compile, features }, hooks).enter('64');
  t.write64(0x3000 + 3 * 8, 0xfee00087n);
  t.machine.core.flushAllTranslations();
  return t;
}

/** CPUID, OUT, IN, the local APIC read and written, VMCALL: so many times, then HLT. */
const program = (rounds: number): string =>
  `bd${Buffer.from(Uint32Array.of(rounds).buffer).toString('hex')}` +
  '31c0 31c9 0fa2 89e8 e680 e681 e480 458b08 458908 0f01c1 ffcd 75e5 f4';

describe('exits on every path', () => {
  it('are the same records, asked about or not, compiled or not, run at once or in slices', () => {
    const rounds = 6000;
    const registers = { r8: APIC + 0xf0, rsp: 0x9000 };
    const run = (
      compile: (typeof MODES)[number],
      hooks: Partial<MachineHooks>,
      slice: number,
    ): ReturnType<typeof left> => {
      const t = machine(compile, hooks);
      t.machine.platform.apic(0).writeRegister(0xf0, 0x1ff);
      t.run(CODE, program(rounds), registers, 1);
      while (t.machine.run(slice) === 'budget' && t.machine.core.retired < 1e6);
      return left(t);
    };
    const expected = run('off', { exit: () => false }, 1e6);
    assert.deepStrictEqual(expected.counters, [
      { reason: ExitReason.cpuid, count: rounds },
      { reason: ExitReason.hlt, count: 1 },
      { reason: ExitReason.vmcall, count: rounds },
      { reason: ExitReason.ioInstruction, count: 3 * rounds },
      { reason: ExitReason.eptViolation, count: 2 * rounds },
    ]);
    assert.strictEqual((JSON.parse(expected.exits) as unknown[]).length, EXIT_LOG_SIZE);
    for (const compile of MODES) {
      assert.deepStrictEqual(run(compile, {}, 1e6), expected, compile);
      assert.deepStrictEqual(run(compile, {}, 997), expected, `${compile}, in slices`);
      assert.deepStrictEqual(run(compile, { exit: () => false }, 1e6), expected, `${compile}, asked`);
    }
  });

  it("of reads of a device's register, by instructions that do more than read it", () => {
    // mov rsi, r8; mov rdi, r10; movsd; xor edx, edx; mov eax, 1000; div dword [r8]; add r11d, [r8]; dec ebp; jnz
    const body = '4c89c6 4c89d7 a5 31d2 b8e8030000 41f730 450318 ffcd 75e8';
    // Another register, which is 0: mov r8, r9; div dword [r8].
    const rounds = 6000;
    const code = `bd${Buffer.from(Uint32Array.of(rounds).buffer).toString('hex')} ${body} 4d89c8 41f730`;
    const registers = { r8: APIC + 0xf0, r9: APIC + 0x280, r10: 0x200000, r11: 0, rsp: 0x9000 };
    const run = (compile: (typeof MODES)[number], slice: number): ReturnType<typeof left> => {
      const t = machine(compile);
      t.machine.platform.apic(0).writeRegister(0xf0, 0x1ff);
      t.run(CODE, code, registers, 1);
      // Up to the division by 0, which does not retire.
      const all = 9 * rounds + 2;
      while (t.machine.core.retired < all) t.machine.run(Math.min(slice, all - t.machine.core.retired));
      assert.strictEqual(t.vector, undefined);
      t.machine.run(1);
      assert.strictEqual(t.vector, 0, compile);
      assert.strictEqual(t.get('r11'), BigInt(0x1ff * rounds));
      assert.strictEqual(t.read32(0x200000), 0x1ff);
      if (compile === 'auto' && slice < rounds) assert.ok(t.machine.core.compiledInstructions > rounds);
      return left(t);
    };
    const expected = run('off', 1e6);
    assert.deepStrictEqual(expected.counters, [{ reason: ExitReason.eptViolation, count: 3 * rounds + 1 }]);
    for (const compile of MODES) {
      assert.deepStrictEqual(run(compile, 1e6), expected, compile);
      assert.deepStrictEqual(run(compile, 997), expected, `${compile}, in slices`);
    }
  });

  for (const compile of MODES) {
    it(`${compile}: a run ends soon when as many have gathered as somebody wants`, () => {
      const rounds = 3000;
      const [start, gathering] = [machine(compile), machine(compile)];
      for (const t of [start, gathering]) {
        t.machine.platform.apic(0).writeRegister(0xf0, 0x1ff);
        t.run(CODE, program(rounds), { r8: APIC + 0xf0, rsp: 0x9000 }, 1);
      }
      start.machine.run(1e6);
      const { vmm } = gathering.machine;
      let runs = 0;
      for (let before = vmm.log.nextSeq; gathering.machine.vcpus[0].activity === 'active'; before = vmm.log.nextSeq) {
        vmm.gather(1000);
        assert.strictEqual(gathering.machine.run(1e6, undefined, 0), vmm.hasGathered ? 'budget' : 'idle');
        const gathered = vmm.log.nextSeq - before;
        // What is left of a block: here 7 exits.
        assert.ok(gathered <= 1007, `${gathered} have gathered`);
        if (gathered >= 1000) runs++;
      }
      assert.strictEqual(runs, Math.floor((7 * rounds) / 1007));
      assert.deepStrictEqual(left(gathering), left(start));
    });

    it(`${compile}: the log keeps the newest, and counts all`, () => {
      const t = machine(compile);
      const count = EXIT_LOG_SIZE + 1000;
      // cpuid; out 80h, al; dec ebp; jnz
      t.run(CODE, '0fa2 e680 ffcd 75f8 f4', { rbp: count }, 4 * count + 1);
      const { log } = t.machine.vmm;
      assert.strictEqual(log.nextSeq, 2 * count + 1);
      assert.deepStrictEqual(log.counters(), [
        { reason: ExitReason.cpuid, count },
        { reason: ExitReason.hlt, count: 1 },
        { reason: ExitReason.ioInstruction, count },
      ]);
      const kept = log.newest(1e9);
      assert.strictEqual(kept.length, EXIT_LOG_SIZE);
      kept.forEach((exit, i) => assert.strictEqual(exit.seq, 2 * count - i));
      // Four instructions a round, of which the first and the second exit.
      for (const { seq, icount } of kept.slice(1)) assert.strictEqual(icount, 4 * (seq >> 1) + (seq & 1));
    });

    it(`${compile}: an exit that is stopped at when the answer is known is one exit, before its effect`, () => {
      const t = machine(compile);
      t.run(CODE, '0fa2 90 ebfb', { rax: 0, rcx: 0 }, 300);
      let stops = 0;
      t.machine.hooks.exit = () => ++stops > 0;
      t.machine.resume();
      assert.strictEqual(t.machine.run(100), 'stopped');
      assert.deepStrictEqual([t.cpu.rip, t.machine.core.retired, stops], [BigInt(CODE), 300, 1]);
      t.machine.hooks.exit = undefined;
      t.machine.resume();
      t.machine.run(3);
      assert.deepStrictEqual([t.cpu.rip, t.machine.core.retired], [BigInt(CODE), 303]);
      assert.deepStrictEqual(t.machine.vmm.log.counters(), [{ reason: ExitReason.cpuid, count: 101 }]);
    });
  }
});

/** SDM Vol. 2A, "CPUID—CPU Identification". */
describe('CPUID, known answers', () => {
  const OSXSAVE = 1n << 27n;
  const ask = (leaf: number) => `b8${Buffer.from(Uint32Array.of(leaf).buffer).toString('hex')} 31c9 0fa2`;
  for (const compile of MODES) {
    const start = () => machine(compile, {}, ['+xsave', '+avx']);

    it(`${compile}: leaf 1 follows CR4.OSXSAVE, leaf 0Dh XCR0`, () => {
      const t = start();
      // Each twice: the second answer is known. OSXSAVE is set in between, then XCR0 = 7 by XSETBV.
      const first = `${ask(1)} 4189c8 ${ask(1)} 4189c9`;
      const enable = '0f20e0 0d00000400 0f22e0';
      const sizes = `${ask(0xd)} 4189dc ${ask(0xd)} 4189dd`;
      const all = '31c9 31d2 b807000000 0f01d1';
      t.run(CODE, `${first} ${enable} ${ask(1)} 4189ca ${sizes} ${all} ${ask(0xd)} 4189de f4`, {}, 33);
      assert.deepStrictEqual([t.get('r8') & OSXSAVE, t.get('r9') & OSXSAVE, t.get('r10') & OSXSAVE], [0n, 0n, OSXSAVE]);
      // The legacy region and the header; with AVX another 256 bytes. SDM Vol. 1, 13.4 "XSAVE Area".
      assert.deepStrictEqual([t.get('r12'), t.get('r13'), t.get('r14')], [576n, 576n, 832n]);
    });

    it(`${compile}: leaf 1 follows IA32_APIC_BASE`, () => {
      const t = start();
      // IA32_APIC_BASE loses its enable bit.
      const off = 'b91b000000 0f32 25fff7ffff 0f30';
      t.run(CODE, `${ask(1)} 4189d0 ${ask(1)} 4189d1 ${off} ${ask(1)} 4189d2 f4`, {}, 16);
      const apic = 1n << 9n;
      assert.deepStrictEqual([t.get('r8') & apic, t.get('r9') & apic, t.get('r10') & apic], [apic, apic, 0n]);
    });

    it(`${compile}: what the debugger changes counts at once`, () => {
      const t = start();
      t.run(CODE, `${ask(1)} ebf5`, {}, 4 * 10);
      assert.strictEqual(t.get('rcx') & OSXSAVE, 0n);
      t.cpu.set64(State.cr4, t.cpu.get64(State.cr4) | BigInt(Cr4.OSXSAVE));
      t.cpu.modeChanged();
      t.machine.run(3);
      assert.strictEqual(t.get('rcx') & OSXSAVE, OSXSAVE);
    });

    it(`${compile}: leaves and subleaves that share a place are told apart`, () => {
      const t = start();
      // 0 and 80000000h and 40000000h with their high digits, and subleaves of 4 beside leaves 4 to 7.
      const leaves: [number, number][] = [[0, 0], [0x80000000, 8], [4, 0], [4, 1], [5, 0], [4, 2], [6, 0], [4, 3], [7, 0]]; // prettier-ignore
      const answers = (): string[] =>
        leaves.map(([rax, rcx]) => {
          t.run(CODE, '0fa2 ebfc', { rax, rcx });
          return ['rax', 'rbx', 'rcx', 'rdx'].map((name) => t.get(name as 'rax').toString(16)).join(' ');
        });
      const alone = answers();
      // All of them again and again in one run.
      const move = (n: number) => Buffer.from(Uint32Array.of(n).buffer).toString('hex');
      const table = leaves.map(([leaf, subleaf]) => `b8${move(leaf)} b9${move(subleaf)} 0fa2`).join(' ');
      const keep = (at: number) =>
        ['8904', '891c', '890c', '8914'].map((store, i) => `${store}25${move(at + 4 * i)}`).join(' ');
      const code = table
        .split(/(?<=0fa2) /)
        .map((one, i) => `${one} ${keep(0x200000 + 16 * i)}`)
        .join(' ');
      t.run(CODE, `bd03000000 ${code} ffcd 0f85${move(-(code.replace(/\s/g, '').length / 2 + 8) >>> 0)} f4`, {}, 1e4);
      const together = leaves.map((_, i) =>
        [0, 4, 8, 12].map((offset) => t.read32(0x200000 + 16 * i + offset).toString(16)).join(' '),
      );
      assert.deepStrictEqual(together, alone);
    });
  }
});

describe('OUT to a port that keeps what is written', () => {
  for (const compile of MODES) {
    it(`${compile}: is read back, also after a width that goes past it`, () => {
      const t = machine(compile);
      t.run(CODE, 'b055 e680 b0aa e6ed e480 88c3 e4ed', {}, 7);
      assert.deepStrictEqual([t.get('rbx') & 0xffn, t.get('rax') & 0xffn], [0x55n, 0xaan]);
      // out 80h, ax: the other byte goes to a port that nobody has.
      t.run(CODE, '66b83412 66e780 66e580', {}, 3);
      assert.strictEqual(t.get('rax') & 0xffffn, 0xff34n);
    });

    it(`${compile}: obeys the I/O permission bitmap`, () => {
      const t = machine(compile).enter('64', 3);
      t.run(CODE, 'e680 ebfc', { rsp: 0x9000 }, 2);
      assert.strictEqual(t.vector, 13);
      // The bitmap at 68h allows all ports up to 0ffh.
      const u = machine(compile).enter('64', 3);
      u.write16(TSS + 0x66, 0x68);
      u.write(TSS + 0x68, new Array<number>(0x21).fill(0));
      u.run(CODE, 'e680 ebfc', { rsp: 0x9000 }, 20);
      assert.strictEqual(u.vector, undefined);
      assert.strictEqual(u.machine.core.retired, 20);
    });

    it(`${compile}: stops at an I/O breakpoint of the guest's own`, () => {
      const t = machine(compile);
      t.run(CODE, 'e680 90 ebfb', { rsp: 0x9000 }, 30);
      t.cpu.set64(State.cr4, t.cpu.get64(State.cr4) | BigInt(Cr4.DE));
      t.cpu.set64(State.dr, 0x80n);
      // Breakpoint 0 on port accesses of a byte. SDM Vol. 3B, "Debug Control Register (DR7)".
      t.cpu.set64(State.dr + 7 * 8, 0x20402n);
      t.cpu.modeChanged();
      t.machine.core.flushAllTranslations();
      t.machine.run(1);
      t.machine.run(1);
      assert.strictEqual(t.cpu.rip, BigInt(HANDLERS + 16));
    });
  }
});

describe("a device's page in the soft TLB", () => {
  it('is forgotten when the guest maps something else there', () => {
    for (const compile of MODES) {
      const t = machine(compile);
      t.machine.platform.apic(0).writeRegister(0xf0, 0x1ff);
      t.write32(0x2000f0, 0x12345678);
      t.write32(0x2000f4, 0);
      const read = '458b08';
      // Three times the APIC's, then RAM in its place: mov [rbx], rdx; mov cr3, rax, or invlpg [r8].
      for (const flush of ['0f22d8', '410f0138']) {
        t.write64(0x3000 + 3 * 8, 0xfee00087n);
        t.machine.core.flushAllTranslations();
        const registers = { r8: APIC + 0xf0, rbx: 0x3000 + 3 * 8, rdx: 0x200087, rax: 0x1000 };
        t.run(CODE, `${read} ${read} ${read} 4d89ca 488913 ${flush} ${read} f4`, registers, 8);
        assert.deepStrictEqual([t.get('r10'), t.get('r9')], [0x1ffn, 0x12345678n], `${compile} ${flush}`);
      }
    }
  });

  it('lets no write through where the guest may only read, nor user code where only the supervisor may', () => {
    for (const compile of MODES) {
      const t = machine(compile);
      // Read-only for everybody, CR0.WP set.
      t.write64(0x3000 + 3 * 8, 0xfee00085n);
      t.machine.core.flushAllTranslations();
      t.run(CODE, '458b08 458b08 458908', { r8: APIC + 0xf0, rsp: 0x9000 }, 3);
      assert.strictEqual(t.vector, 14);
      assert.strictEqual(t.cpu.get64(State.cr2), BigInt(APIC + 0xf0));
    }
  });
});
