/** The instruction table against iced-x86: every encoding of an announced feature has a row, and what is undefined is #UD. */
import assert from 'node:assert';
import { Code, CpuidFeature, Decoder, DecoderOptions, Instruction, OpKind } from 'iced-x86';
import { CORE_FEATURES, coreFeatures } from '../../../emulator-core/cpu/cpuFeatures';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr4, Vector } from '../../../emulator-core/cpu/vcpu';
import { CODES } from '../../../emulator-core/x86/codes';
import { INTERRUPT_STACK, TestMachine, toHex } from '../testMachine';

type Bitness = 16 | 32 | 64;
const BITNESS: readonly Bitness[] = [16, 32, 64];

/** iced-x86's features that every processor here has. */
const ALWAYS =
  'INTEL8086 INTEL186 INTEL286 INTEL386 INTEL486 X64 CPUID RDPMC PAUSE MULTIBYTENOP FPU FPU287 FPU387 CET_IBT ' +
  'CLDEMOTE PREFETCHITI PREFETCHWT1';

/** iced-x86's features that a CPUID feature of ours announces, where the names differ. */
const OURS: Record<string, string> = {
  LZCNT: 'abm', CMPXCHG16B: 'cx16', CLFSH: 'clflush', PREFETCHW: '3dnowprefetch',
}; // prettier-ignore

/** iced-x86's features that no CPUID feature of ours announces. */
const ABSENT: Record<string, string> = {
  'AVX512\\w*': 'AVX-512 is not offered',
  'AVX_(IFMA|NE_CONVERT|VNNI\\w*)|SHA512|SM3|SM4|CMPCCXADD': 'newer than the models',
  'AESKLE|WIDE_KL|KL|AMX\\w+|ENQCMD|HRESET|PCONFIG|PTWRITE|UINTR|FRED|LKGS|MSRLIST|WRMSRNS|RAO_INT|TSE|UDBG|PCOMMIT': 'not offered',
  'RTM|HLE_or_RTM|TSXLDTRK': 'transactional memory is not offered',
  'MPX|CET_SS': 'bounds and shadow stacks are not offered; RDSSP is a no-operation then',
  'SGX1|OSS|TDX|SMX|SEV_ES|SEV_SNP|RMPQUERY|SKINIT_or_SVM': 'enclaves and confidential guests are not offered',
  'SMM': 'there is no system-management mode: RSM is #UD outside of it, as the manual says',
  'D3NOW|D3NOWEXT|CYRIX\\w*|PADLOCK\\w*|CENTAUR_AIS|IA64|INTEL286_ONLY|INTEL386_ONLY|INTEL386_A0_ONLY|INTEL486_A_ONLY|INTEL8086_ONLY|UMOV|MOV_TR|FPU387SL_ONLY|FPU287XL_ONLY|CL1INVMB':
    'other makers, or processors of the past',
  'KNC|XOP|FMA4|TBM|LWP': 'instruction sets that were given up',
  'MONITORX|MCOMMIT|RDPRU|INVLPGB': 'AMD extensions that are not offered',
}; // prettier-ignore

/** Codes of announced features without a row. */
const WITHOUT_ROW: [RegExp, string][] = [
  [/^(INVALID|Declare\w+|Zero_bytes)$/, "iced-x86's own, no instruction"],
  [/^(Fstenv|Fstcw|Fsave|Fstsw|Fclex|Finit|Feni|Fdisi|Fsetpm)(_|$)/, 'WAIT and an FN instruction in one: two instructions to the decoder'],
]; // prettier-ignore

/** Rows that run without the feature that brought them: hints and no-operations, calls of the hypervisor, and x87 rows that look at FPU alone. */
const WITHOUT_FEATURE = /^(Fcmov\w+|Fu?comip?|Prefetch\w*|Endbr\w*|Rdssp.|Cldemote|Vmcall|Vmmcall|Wbnoinvd)$/;

const OFFERED = new Set(CORE_FEATURES);
const instruction = new Instruction();

function featuresOf(code: number): string[] {
  instruction.code = code;
  return Array.from(instruction.cpuidFeatures(), (feature) => CpuidFeature[feature]);
}
const always = new Set(ALWAYS.split(' '));
const absent = (feature: string): boolean =>
  Object.keys(ABSENT).some((pattern) => new RegExp(`^(${pattern})$`).test(feature));
const ourName = (feature: string): string => OURS[feature] ?? feature.toLowerCase();

const ALL_CODES = Object.entries(Code).filter((entry): entry is [string, number] => typeof entry[1] === 'number');

/** Codes without row or reason, with our names of their features. */
function missing(): { name: string; features: string[] }[] {
  return ALL_CODES.filter(([name, code]) => !CODES[code] && !WITHOUT_ROW.some(([pattern]) => pattern.test(name)))
    .map(([name, code]) => ({ name, features: featuresOf(code).filter((feature) => !always.has(feature)) }))
    .filter(({ features }) => !features.some((feature) => absent(feature) || !OFFERED.has(ourName(feature))))
    .map(({ name, features }) => ({ name, features: features.map(ourName) }));
}

describe('rows and encodings', () => {
  it('every encoding of an announced feature has a row', () => {
    assert.deepStrictEqual(missing(), []);
  });

  it('the list of encodings without row is up to date', () => {
    const stale = ALL_CODES.filter(
      ([name, code]) => CODES[code] && WITHOUT_ROW.some(([pattern]) => pattern.test(name)),
    );
    assert.deepStrictEqual(stale, []);
  });

  it('no row covers an encoding of something absent, but those that are no-operations without it', () => {
    const wrong = ALL_CODES.filter(
      ([name, code]) => CODES[code] && featuresOf(code).some(absent) && !/^(Rdssp)/.test(name),
    );
    assert.deepStrictEqual(wrong, []);
  });

  it('a row names the feature that announces it', () => {
    const wrong: string[] = [];
    for (const [name, code] of ALL_CODES) {
      const row = CODES[code]?.row;
      if (!row || WITHOUT_FEATURE.test(row.mnemonic)) continue;
      const features = featuresOf(code).filter((feature) => !always.has(feature));
      // With several, the newest is what a row names (FISTTP: SSE3, not FPU; VEX forms: AVX beside AES or PCLMULQDQ).
      // The MMX form of PADDQ, PSUBQ and PMULUDQ came with SSE2 (SDM Vol. 2).
      if (row.feature === 'sse2' && /^(Paddq|Psubq|Pmuludq)$/.test(row.mnemonic)) continue;
      if (features.length && !features.map(ourName).includes(row.feature ?? ''))
        wrong.push(`${name}: ${row.feature}, not ${features}`);
    }
    assert.deepStrictEqual(wrong, []);
  });
});

/** SDM Vol. 2A, "LOCK—Assert LOCK# Signal Prefix". */
const LOCKABLE = /^(Add|Adc|And|Btc|Btr|Bts|Cmpxchg|Cmpxchg8b|Cmpxchg16b|Dec|Inc|Neg|Not|Or|Sbb|Sub|Xor|Xadd|Xchg)$/;

describe('LOCK', () => {
  /** Every opcode of the one- and two-byte maps with every ModR/M reg field, in memory and in registers. */
  function* encodings(): Generator<number[]> {
    for (let opcode = 0; opcode < 512; opcode++) {
      const start = opcode < 256 ? [opcode] : [0x0f, opcode - 256];
      for (let reg = 0; reg < 8; reg++) {
        for (const mod of [0x00, 0xc0]) yield [...start, mod | (reg << 3) | 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
      }
    }
  }

  for (const bitness of BITNESS) {
    it(`is defined for read-modify-write instructions with a memory destination only, in ${bitness}-bit code`, () => {
      const { decoder } = new TestMachine({ features: coreFeatures('intel').map((name) => '+' + name) }).machine.core;
      const plain = new Instruction();
      for (const bytes of encodings()) {
        const iced = new Decoder(bitness, Uint8Array.from(bytes), DecoderOptions.None);
        iced.decodeOut(plain);
        iced.free();
        const { code } = plain;
        if (code === Code.INVALID || !CODES[code] || plain.length === 1) continue;
        const lockable = LOCKABLE.test(CODES[code]!.row.mnemonic) && plain.opKind(0) === OpKind.Memory;
        decoder.begin(bitness, Uint8Array.from([0xf0, ...bytes]), 0);
        const status = decoder.next();
        assert.strictEqual(status === 'ok', lockable, `${Code[code]}: ${toHex(Uint8Array.from(bytes))}`);
      }
      decoder.dispose();
    });
  }
});

/** Valid encodings that are #UD at CPL 3 in long mode all the same, by what they ask or name. */
const MAY_BE_UNDEFINED =
  /^(Ud[012]|Mov|Monitor.|Mwait|Vm\w+|Sysenter|Sysexit.|Sysret.|Syscall|Xgetbv|Xsetbv|Rd[fg]sbase|Wr[fg]sbase|Rdpkru|Wrpkru|Clac|Stac)$/;

describe('random bytes', () => {
  const CASES = 4000;
  const PAGE = 0x200000;
  /** Bytes a case. */
  const SLOT = 32;

  /** xorshift32. */
  function generator(seed: number): (below: number) => number {
    let x = seed;
    return (below) => {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      return (x >>> 0) % below;
    };
  }

  const PREFIXES = [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x64, 0x65, 0x40, 0x48, 0x4f, 0x9b];
  const MAPS = [[], [0x0f], [0x0f], [0x0f, 0x38], [0x0f, 0x3a], [0xc4], [0xc5], [0x62], [0x8f], [0xd8], [0x0f, 0x01]];

  function bytesFrom(random: (below: number) => number): Uint8Array {
    const head: number[] = [];
    for (let n = random(4); n > 0; n--) head.push(PREFIXES[random(PREFIXES.length)]);
    if (random(50) === 0) while (head.length < 14) head.push(0x66);
    head.push(...MAPS[random(MAPS.length)]);
    return Uint8Array.from({ length: SLOT }, (_, i) => head[i] ?? random(256));
  }

  /** CPL 3 in long mode; all that code can reach is its own page, read-only. */
  function prepare(t: TestMachine, bitness: Bitness, linear: number): void {
    const wide = bitness === 64 ? 0xa000 : bitness === 32 ? 0xc000 : 0;
    const base = bitness === 16 ? linear & ~0xffff : 0;
    t.segment('ss', 0x3b, 0, 0xffffffff, 0xc0f3);
    for (const s of ['ds', 'es', 'fs', 'gs'] as const) t.segment(s, 0x3b, 0, 0xffffffff, 0xc0f3);
    t.segment('cs', 0x43, base, bitness === 16 ? 0xffff : 0xffffffff, 0x00fb | wide);
    t.cpu.rflags = 2;
    t.cpu.rip = BigInt(linear - base);
    t.cpu.pending = undefined;
    t.cpu.shadowUntil = -1;
    t.cpu.activity = 'active';
    for (let r = 0; r < 16; r++) t.cpu.setGpr(r, 0n);
    t.cpu.modeChanged();
  }

  for (const bitness of BITNESS) {
    it(`in ${bitness}-bit code: #UD at the instruction where iced-x86 finds none, and nowhere else`, () => {
      const random = generator(bitness * 0x9e3779b1);
      const t = new TestMachine({ features: coreFeatures('intel').map((name) => '+' + name) }).enter('64', 3);
      t.write64(0x3000, 0x83n);
      t.write64(0x3008, BigInt(PAGE) | 0x85n);
      for (let i = 2; i < 8; i++) t.write64(0x3000 + i * 8, 0n);
      t.cpu.set64(State.cr4, t.cpu.get64(State.cr4) | BigInt(Cr4.OSFXSR | Cr4.OSXMMEXCPT | Cr4.OSXSAVE));
      t.cpu.set64(State.xcr0, 7n);
      t.machine.core.flushAllTranslations();
      const cases = Array.from({ length: CASES }, () => bytesFrom(random));
      cases.forEach((bytes, n) => t.write(PAGE + n * SLOT, bytes));
      let undefinedOnes = 0;
      let defined = 0;
      for (const [n, bytes] of cases.entries()) {
        const iced = new Decoder(bitness, bytes, DecoderOptions.None);
        iced.decodeOut(instruction);
        iced.free();
        const { code, length } = instruction;
        const info = CODES[code];
        const exists = info !== undefined && (!info.row.feature || t.machine.model.features.has(info.row.feature));
        prepare(t, bitness, PAGE + n * SLOT);
        const start = t.cpu.rip;
        t.machine.run(1);
        const what = `${toHex(bytes)}: ${Code[code]}, vector ${t.vector}`;
        if (!exists) {
          undefinedOnes++;
          // Beyond 15 bytes nothing is decoded: #GP.
          const allowed = length === 15 ? [Vector.UD, Vector.GP] : [Vector.UD];
          assert.ok(
            allowed.some((vector) => vector === t.vector),
            what,
          );
          assert.strictEqual(t.read64(INTERRUPT_STACK - 40), start, what);
        } else if (!MAY_BE_UNDEFINED.test(info.row.mnemonic)) {
          defined++;
          assert.notStrictEqual(t.vector, Vector.UD, what);
        }
      }
      assert.ok(undefinedOnes > CASES / 10 && defined > CASES / 10, `${undefinedOnes} undefined, ${defined} defined`);
    });
  }
});
