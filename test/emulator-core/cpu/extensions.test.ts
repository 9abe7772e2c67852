/** Instructions of small extensions that vectors from hardware cannot show: random numbers, direct stores, cache control, features. */
import assert from 'node:assert';
import { coreFeatures } from '../../../emulator-core/cpu/cpuFeatures';
import { State } from '../../../emulator-core/cpu/layout';
import { Flag, Vector } from '../../../emulator-core/cpu/vcpu';
import { TestMachine, type Mode } from '../testMachine';

const CODE = 0x100000;
const DATA = 0x200000;
/** By basic exit reason. SDM Vol. 3D, Appendix C. In the order in which the test meets them. */
const EXIT_NAMES: Record<string, string> = { r57: 'RDRAND', r61: 'RDSEED', r39: 'MONITOR', r36: 'MWAIT' };

/** A machine with these features; its vendor is the one whose processors have them. */
function machine(features: string[], mode: Mode = '64', cpl: 0 | 3 = 0): TestMachine {
  const vendor = features.every((feature) => coreFeatures('intel').includes(feature.slice(1))) ? 'intel' : 'amd';
  return new TestMachine({ vendor, features }).enter(mode, cpl);
}
function vector(
  features: string[],
  hex: string,
  registers = {},
  mode: Mode = '64',
  cpl: 0 | 3 = 0,
): number | undefined {
  return machine(features, mode, cpl).run(CODE, hex, registers).vector;
}

describe('RDRAND and RDSEED', () => {
  // rdrand rax; rdrand rbx; rdseed rcx; rdseed rdx
  const DRAW = '480fc7f0 480fc7f3 480fc7f9 480fc7fa';
  const draw = (): TestMachine => machine(['+rdrand', '+rdseed']).run(CODE, DRAW, {}, 4);
  const results = (t: TestMachine): bigint[] => (['rax', 'rbx', 'rcx', 'rdx'] as const).map((name) => t.get(name));

  it('numbers differ within a run and are the same in another one', () => {
    const first = results(draw());
    assert.strictEqual(new Set(first).size, 4);
    assert.deepStrictEqual(results(draw()), first);
  });

  it('CF is set, the other arithmetic flags are cleared; the operand size is kept to', () => {
    const t = machine(['+rdrand']);
    t.cpu.rflags = Flag.OF | Flag.SF | Flag.ZF | Flag.AF | Flag.PF | Flag.DF | 2;
    // rdrand ax; rdrand ebx
    t.run(CODE, '660fc7f0 0fc7f3', { rax: 0x1122334455667788n, rbx: -1 }, 2);
    assert.strictEqual(t.cpu.rflags, Flag.CF | Flag.DF | 2);
    assert.strictEqual(t.get('rax') >> 16n, 0x112233445566n);
    assert.strictEqual(t.get('rbx') >> 32n, 0n);
  });

  it('bits are balanced', () => {
    const t = machine(['+rdrand']);
    // loop: rdrand rax; popcnt rax, rax; add rbx, rax; dec ecx; jnz loop
    t.run(CODE, '480fc7f0 f3480fb8c0 4801c3 ffc9 75f0 ebfe', { rcx: 4096 }, 4096 * 5);
    // 2^18 bits: the mean is 2^17, the standard deviation 256.
    assert.ok(Math.abs(Number(t.get('rbx')) - (1 << 17)) < 6 * 256, String(t.get('rbx')));
  });
});

describe('exits', () => {
  it('RDRAND, RDSEED, MONITOR and MWAIT exit when asked for, and are then done', () => {
    const names: string[] = [];
    const t = new TestMachine(
      { features: ['+rdrand', '+rdseed', '+monitor'] },
      { exit: (_cpu, { reason }) => (names.push(EXIT_NAMES['r' + reason]), false) },
    ).enter('64');
    t.machine.vmm.configure(new Set(Object.values(EXIT_NAMES)));
    // rdrand rbx; rdseed rcx; xor ecx, ecx; monitor; mwait
    t.run(CODE, '480fc7f3 480fc7f9 31c9 0f01c8 0f01c9', { rax: DATA }, 5);
    assert.deepStrictEqual(names, Object.values(EXIT_NAMES));
    assert.strictEqual(t.cpu.activity, 'halted');
  });
});

describe('RDPID', () => {
  it('gives IA32_TSC_AUX', () => {
    const t = machine(['+rdpid'], '64', 3);
    t.cpu.set64(State.tscAux, 0x87654321n);
    assert.strictEqual(t.run(CODE, 'f30fc7f9', { rcx: -1 }).get('rcx'), 0x87654321n);
  });
});

describe('direct stores', () => {
  it('MOVDIRI', () => {
    const t = machine(['+movdiri']).run(CODE, '480f38f90b', { rbx: DATA + 3, rcx: 0x1122334455667788n });
    assert.strictEqual(t.read64(DATA + 3), 0x1122334455667788n);
  });

  it('MOVDIR64B copies 64 bytes to an aligned address', () => {
    const t = machine(['+movdir64b']);
    const source = Uint8Array.from({ length: 64 }, (_, i) => 3 * i + 1);
    t.write(DATA + 0x101, source);
    t.run(CODE, '660f38f80b', { rbx: DATA + 0x101, rcx: DATA + 0x40 });
    assert.deepStrictEqual(t.read(DATA + 0x40, 64), source);
    assert.strictEqual(t.vector, undefined);
    assert.strictEqual(vector(['+movdir64b'], '660f38f80b', { rbx: DATA, rcx: DATA + 0x20 }), Vector.GP);
    assert.strictEqual(vector(['+movdir64b'], '660f38f80b', { rbx: DATA, rcx: 0x40000000 }), Vector.PF);
    // A 32-bit address size takes ECX.
    const narrow = machine(['+movdir64b']).run(CODE, '67660f38f80b', { rbx: DATA, rcx: (7n << 32n) + BigInt(DATA) });
    assert.strictEqual(narrow.vector, undefined);
  });
});

describe('cache control', () => {
  it('CLZERO clears the line around rAX', () => {
    const t = machine(['+clzero'], '64', 3);
    t.write(DATA, new Uint8Array(256).fill(0xff));
    t.run(CODE, '0f01fc', { rax: DATA + 0x77 });
    const line = t.read(DATA, 256);
    assert.ok(line.every((byte, i) => byte === (i >= 0x40 && i < 0x80 ? 0 : 0xff)));
    assert.strictEqual(vector(['+clzero'], '0f01fc', { rax: 0x40000000 }), Vector.PF);
  });

  it('flushing a line faults as a load does, and reads no device', () => {
    const flushes = { '0fae3b': [], '660fae3b': ['+clflushopt'], '660fae33': ['+clwb'] };
    for (const [hex, features] of Object.entries(flushes)) {
      assert.strictEqual(vector(features, hex, { rbx: 0x40000000 }), Vector.PF, hex);
      assert.strictEqual(vector(features, hex, { rbx: DATA }), undefined, hex);
      for (const f of features) assert.strictEqual(vector([f.replace('+', '-')], hex, { rbx: DATA }), Vector.UD, hex);
      const t = machine(features);
      t.write64(0x3008, 0xfee00000n | 0x83n);
      t.machine.core.flushAllTranslations();
      let exits = 0;
      t.machine.hooks.exit = () => (exits++, false);
      t.run(CODE, hex, { rbx: DATA + 0x20 });
      assert.strictEqual(exits, 0);
    }
  });

  it('WBNOINVD and WBINVD are for CPL 0; without the feature F3 means nothing', () => {
    for (const features of [[], ['+wbnoinvd']]) {
      assert.strictEqual(vector(features, 'f30f09', {}, '64', 3), Vector.GP);
      assert.strictEqual(vector(features, 'f30f09'), undefined);
    }
  });
});

describe('features decide what exists', () => {
  it('LAHF and SAHF in 64-bit mode need lahf_lm, elsewhere nothing', () => {
    for (const hex of ['9f', '9e']) {
      assert.strictEqual(vector(['-lahf_lm'], hex), Vector.UD);
      assert.strictEqual(vector(['-lahf_lm'], hex, {}, 'compat'), undefined);
      assert.strictEqual(vector([], hex), undefined);
    }
  });

  it('VEX-encoded integer instructions are undefined in real-address mode, and work in 16-bit protected mode', () => {
    const ANDN = 'c4e270f2c3'; // andn eax, ecx, ebx
    const real = machine(['+bmi1'], 'real').run(0x9000, ANDN, { rcx: 1, rbx: 3 }, 2);
    assert.strictEqual(real.vector, Vector.UD);
    const wide = machine(['+bmi1'], '16').run(0x9000, ANDN, { rcx: 1, rbx: 3 });
    assert.strictEqual(wide.get('rax'), 2n);
  });

  it('what came with SSE is undefined without it: fences, MOVNTI, FISTTP', () => {
    // SDM Vol. 2, exceptions of each instruction. fisttp word, dword and qword [rbx].
    const FISTTP = ['df0b', 'db0b', 'dd0b'];
    const encodings: [feature: string, off: string, hex: string[]][] = [
      ['sse', '-sse', ['0faef8', '0faeff']], // sfence; its ModR/M byte's low bits mean nothing
      ['sse2', '-sse2', ['0faee8', '0faef0', '0fc303', '480fc303']], // lfence; mfence; movnti [rbx], eax and rax
      ['sse3', '-sse3', FISTTP],
      ['fpu', '-fpu', FISTTP],
    ];
    for (const [feature, off, list] of encodings) {
      for (const hex of list) {
        assert.strictEqual(vector([off], hex, { rbx: DATA }), Vector.UD, `${hex} without ${feature}`);
        assert.strictEqual(vector([], hex, { rbx: DATA }), undefined, `${hex} with ${feature}`);
      }
    }
  });

  it('hints run without the features that brought them, and F3 before WBINVD is ignored', () => {
    // prefetcht0, prefetchnta, cldemote and prefetchw [rbx], with nothing mapped there; wbnoinvd
    for (const hex of ['0f180b', '0f1803', '0f1c03', '0f0d0b', 'f30f09'])
      assert.strictEqual(
        vector(['-sse', '-cldemote', '-3dnowprefetch', '-wbnoinvd'], hex, { rbx: 0x40000000 }),
        undefined,
        hex,
      );
  });

  it('every optional instruction is undefined without its feature', () => {
    const encodings = {
      bmi1: 'c4e270f2c3',
      bmi2: 'c4e37bf0c301',
      adx: '660f38f6c3',
      rdrand: '0fc7f0',
      rdseed: '0fc7f8',
      rdpid: 'f30fc7f8',
      movdiri: '0f38f90b',
      movdir64b: '660f38f80b',
      serialize: '0f01e8',
      clzero: '0f01fc',
      cx16: '480fc70b',
    };
    for (const [feature, hex] of Object.entries(encodings)) {
      const registers = { rax: DATA, rbx: DATA, rcx: DATA };
      assert.strictEqual(vector([`-${feature}`], hex, registers), Vector.UD, feature);
      assert.strictEqual(vector([`+${feature}`], hex, registers), undefined, feature);
    }
  });
});
