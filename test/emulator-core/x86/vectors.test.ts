/** Every line of test/vectors/*.txt: one instruction on the machine against what hardware made of it. */
import assert from 'node:assert';
import { coreFeatures } from '../../../emulator-core/cpu/cpuFeatures';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { INSTRUCTIONS } from '../../../emulator-core/x86/instructions';
import { GPR_NAMES, fromHex, toHex } from '../testMachine';
import {
  CODE,
  DATA_BYTES,
  VectorRunner,
  noVectors,
  type VectorInput,
  type VectorOutput,
  type VectorRegisters,
} from '../vectorRunner';

const FOLDER = path.join(__dirname, '../../vectors');
const DEFAULT_RSP = 0x200080n;

interface Expected {
  gpr: bigint[];
  memory: Uint8Array;
  vectors: VectorRegisters;
  rip: number;
  vector: number;
  flags: number;
  mask: number;
  /** Relative error up to which single-precision lanes of YMM registers may differ, 0 for exact results. */
  tolerance: number;
}

/** By mnemonic, in small letters as the lines have it. */
const TOLERANCES = new Map(INSTRUCTIONS.map((row) => [row.mnemonic.toLowerCase(), row.tolerance ?? 0]));

function fields(text: string): [string, string][] {
  return text
    .trim()
    .split(/\s+/)
    .filter((word) => word !== '')
    .map((word) => {
      const cut = word.indexOf('=');
      return [word.slice(0, cut), word.slice(cut + 1)];
    });
}

/** Applies `mm3=`, `xmm3=` (the rest of the YMM register stays), `ymm3=` and `mxcsr=`; true when it was one of them. */
function applyVector(name: string, value: string, to: VectorRegisters): boolean {
  const [, file, index] = /^(mm|xmm|ymm)(\d+)$/.exec(name) ?? [];
  if (name === 'mxcsr') to.mxcsr = parseInt(value, 16);
  else if (file === 'mm') to.mm[+index] = BigInt('0x' + value);
  else if (file === 'ymm') to.ymm[+index] = BigInt('0x' + value);
  else if (file === 'xmm') to.ymm[+index] = ((to.ymm[+index] >> 128n) << 128n) | BigInt('0x' + value);
  else return false;
  return true;
}

/** Applies `rax=1f`, `[1c]=0102` and vector registers; anything else goes to `other`. */
function apply(
  text: string,
  { gpr, memory, vectors }: Pick<Expected, 'gpr' | 'memory' | 'vectors'>,
  other: (name: string, value: string) => void,
): void {
  for (const [name, value] of fields(text)) {
    const register = (GPR_NAMES as readonly string[]).indexOf(name);
    if (register >= 0) gpr[register] = BigInt('0x' + value);
    else if (applyVector(name, value, vectors)) continue;
    else if (name.startsWith('[')) memory.set(fromHex(value), parseInt(name.slice(1), 16));
    else other(name, value);
  }
}

export function parse(line: string): { input: VectorInput; expected: Expected } {
  const [head, inputs, outputs] = line.split('|');
  const [name, mode, bytes] = head.trim().split(/\s+/);
  const code = fromHex(bytes);
  const gpr = GPR_NAMES.map((name) => (name === 'rsp' ? DEFAULT_RSP : 0n));
  const memory = Uint8Array.from({ length: DATA_BYTES }, (_, i) => 37 * i + 11);
  const vectors = noVectors();
  const input: VectorInput = { mode: mode === '32' ? 32 : 64, code, gpr, flags: 0, memory, vectors };
  apply(inputs, { gpr, memory, vectors }, (name, value) => {
    if (name === 'flags') input.flags = parseInt(value, 16);
    else if (name === 'fill') memory.fill(parseInt(value, 16));
    else throw new Error(`unknown input '${name}'`);
  });
  const expected: Expected = {
    gpr: [...gpr],
    memory: memory.slice(),
    vectors: { ...vectors, mm: [...vectors.mm], ymm: [...vectors.ymm] },
    rip: CODE + code.length,
    vector: 3,
    flags: 0,
    mask: 0,
    tolerance: TOLERANCES.get(name) ?? 0,
  };
  apply(outputs, expected, (name, value) => {
    if (name === 'rip') expected.rip = CODE + parseInt(value, 16);
    else if (name === 'fault') {
      expected.vector = parseInt(value, 16);
      expected.rip = CODE;
    } else if (name === 'flags') [expected.flags, expected.mask] = value.split('/').map((v) => parseInt(v, 16));
    else throw new Error(`unknown output '${name}'`);
  });
  return { input, expected };
}

const SINGLE_EXPONENT = 0x7f800000;

/** Lane i of a register as bits and as a number. */
function single(register: bigint, i: number): { bits: number; value: number } {
  const bits = Number(BigInt.asUintN(32, register >> BigInt(32 * i)));
  return { bits, value: new Float32Array(Uint32Array.of(bits).buffer)[0] };
}

/** Equal, or finite numbers other than zeros and denormals that differ by a relative error of at most `tolerance`. */
function isNear(got: bigint, want: bigint, tolerance: number): boolean {
  for (let i = 0; i < 8; i++) {
    const a = single(got, i);
    const b = single(want, i);
    if (a.bits === b.bits) continue;
    const exponents = [a.bits & SINGLE_EXPONENT, b.bits & SINGLE_EXPONENT];
    if (exponents.includes(0) || exponents.includes(SINGLE_EXPONENT)) return false;
    if (Math.abs(a.value - b.value) > tolerance * Math.abs(b.value)) return false;
  }
  return true;
}

function difference(got: VectorOutput, want: Expected, mode: 32 | 64): string {
  const problems: string[] = [];
  const check = (what: string, a: bigint | number, b: bigint | number): void => {
    if (a !== b) problems.push(`${what} ${a.toString(16)}, not ${b.toString(16)}`);
  };
  check('vector', got.vector, want.vector);
  check('rip', got.rip, want.rip);
  check('flags', got.flags & want.mask, want.flags);
  GPR_NAMES.forEach((name, i) => {
    if (mode === 64 || i < 8) check(name, BigInt.asUintN(mode, got.gpr[i]), want.gpr[i]);
  });
  got.vectors.mm.forEach((value, i) => check(`mm${i}`, value, want.vectors.mm[i]));
  got.vectors.ymm.forEach((value, i) => {
    if (!want.tolerance || !isNear(value, want.vectors.ymm[i], want.tolerance))
      check(`ymm${i}`, value, want.vectors.ymm[i]);
  });
  check('mxcsr', got.vectors.mxcsr, want.vectors.mxcsr);
  if (toHex(got.memory) !== toHex(want.memory)) problems.push('memory differs');
  return problems.join('; ');
}

describe('instruction vectors', () => {
  // An AMD processor made them.
  const runner = new VectorRunner(
    coreFeatures('amd').map((name) => '+' + name),
    'amd',
  );
  for (const file of readdirSync(FOLDER).filter((name) => name.endsWith('.txt'))) {
    it(`${file} agrees with hardware`, () => {
      const problems: string[] = [];
      for (const line of readFileSync(path.join(FOLDER, file), 'utf8').split('\n')) {
        if (line === '' || line.startsWith('#')) continue;
        const { input, expected } = parse(line);
        const problem = difference(runner.run(input), expected, input.mode);
        if (problem) problems.push(`${line}\n    ${problem}`);
      }
      assert.strictEqual(problems.length, 0, problems.slice(0, 10).join('\n'));
    });
  }

  it('MOVBE and POPCNT are undefined without their features', () => {
    const plain = new VectorRunner(['-popcnt', '-movbe']);
    for (const bytes of ['0f38f003', 'f30fb8c3']) {
      const { input } = parse(`x 64 ${bytes} | rbx=200010 flags=0 |`);
      assert.strictEqual(plain.run(input).vector, 6, bytes);
    }
  });

  it('F3 before BSF and BSR means nothing without BMI1 and ABM', () => {
    const plain = new VectorRunner(['-bmi1', '-abm']);
    const scan = (bytes: string, rbx: string) => plain.run(parse(`x 64 ${bytes} | rbx=${rbx} rax=77 flags=0 |`).input);
    assert.strictEqual(scan('f30fbcc3', '10').gpr[0], 4n);
    assert.strictEqual(scan('f30fbdc3', '10').gpr[0], 4n);
    assert.strictEqual(scan('f30fbcc3', '0').gpr[0], 0x77n);
  });
});
