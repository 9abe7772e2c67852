/** A bounded run of the differential harness; that it notices what is wrong; and that it leaves nothing out unseen. */
import assert from 'node:assert';
import { Instruction, OpKind, RflagsBits } from 'iced-x86';
import { CPU_FEATURES } from '../../emulator-core/cpu/cpuFeatures';
import { CODES } from '../../emulator-core/x86/codes';
import { skip } from '../skip';
import { difference } from './compare';
import { listForms } from './forms';
import { Generator } from './generate';
import { runDifferential, type Summary } from './harness';
import { unavailable } from './native';
import { DATA, DATA_BYTES, Outcome, STATUS } from './protocol';
import { caseLine, parseLine } from './vectorLine';

const SEED = 1;
/** Cases per form; `npm run differential` runs more. */
const DATASETS = 20;
const EVERYTHING = new Set(CPU_FEATURES.map((feature) => feature.name));

function report(summary: Summary): string {
  const shown = summary.mismatches.map(({ line, problems }) => `${line}\n    ${problems.slice(0, 6).join('; ')}`);
  const head = `${summary.mismatchCount} of ${summary.executions} executions differ`;
  return [head, ...shown.slice(0, 10), ...summary.crashes].join('\n');
}

describe('the core against the real processor', function () {
  this.timeout(300_000);
  before(function () {
    const reason = unavailable();
    if (reason) skip(this, reason);
  });

  it(`${DATASETS} cases of every form agree`, async () => {
    const summary = await runDifferential({ seed: SEED, datasets: DATASETS, passes: 1 });
    for (const form of summary.forms.forms) {
      const run = (summary.tallies.get(form.name)?.executions ?? 0) >= DATASETS;
      assert.ok(run || summary.unencoded.has(form.name), form.name);
    }
    assert.ok(summary.mismatchCount === 0 && summary.crashes.length === 0, report(summary));
  });

  const planted: [what: string, change: (outcome: Outcome) => void][] = [
    ['a bit of a register', (o) => (o.gpr[9 * 8 + 3] ^= 4)],
    ['a status flag', (o) => (o.rflags ^= 1)],
    ['the direction flag', (o) => (o.rflags ^= 0x400)],
    ['an x87 register', (o) => (o.x87[3 * 16 + 9] ^= 1)],
    ['the upper half of a vector register', (o) => (o.ymm[5 * 32 + 31] ^= 0x80)],
    ['an exception flag of MXCSR', (o) => (o.mxcsr ^= 0x20)],
    ['the top of the x87 stack', (o) => (o.fsw ^= 0x800)],
    ['a byte of memory', (o) => (o.memory[DATA_BYTES - 1] ^= 1)],
    ['the place where it stopped', (o) => (o.rip[0] += 1)],
    ['a vector', (o) => (o.vector = 6)],
    ['a selector', (o) => (o.selectors[5] = 0x2b)],
  ];
  for (const [what, tamper] of planted)
    it(`notices ${what} that is wrong`, async () => {
      const only = /^(Add_r64_rm64 64 reg|Fadd_m32fp 64)$/;
      const summary = await runDifferential({ seed: 2, only, cases: 100, tamper });
      assert.strictEqual(summary.mismatchCount, summary.executions);
    });
});

describe('the generator of cases', () => {
  const { forms, excluded } = listForms(EVERYTHING);

  it('has a form for every Code of the instruction table, or a reason', () => {
    const left = [...excluded.values()].flat().map((name) => name.split(' ')[0]);
    const known = new Set([...forms.map((form) => form.info.name), ...left]);
    // Those of real mode only have neither.
    const missing = CODES.flatMap((info) => (info && !known.has(info.name) ? [info.name] : []));
    assert.deepStrictEqual(missing, []);
  });

  it('encodes every form but those whose bytes another Code stands for', () => {
    const generator = new Generator(SEED, 400, 1);
    for (let first = 0, number = 0; first < forms.length; first += 400, number++) {
      generator.batch(number, forms, first);
    }
    // Addresses of 16 bits reach no memory here.
    const unexpected = [...generator.unencoded].filter((name) => !name.startsWith('Movdir64b_r16_'));
    assert.deepStrictEqual(unexpected, []);
  });

  it('makes the same batch of the same seed', () => {
    const once = new Generator(5, 50, 4).batch(3, forms, 100);
    const again = new Generator(5, 50, 4).batch(3, forms, 100);
    assert.ok(Buffer.from(once.cases).equals(Buffer.from(again.cases)));
    assert.ok(Buffer.from(once.code).equals(Buffer.from(again.code)));
    const other = new Generator(6, 50, 4).batch(3, forms, 100);
    assert.ok(!Buffer.from(once.code).equals(Buffer.from(other.code)));
  });

  it('writes cases as lines that mean the same', () => {
    const batch = new Generator(7, 300, 1).batch(0, forms, 0);
    const cases = Buffer.from(batch.cases);
    for (let i = 0; i < batch.count; i++) {
      const sequence = batch.sequences[batch.sequenceOf[i]];
      const want = new Outcome();
      want.vector = 14;
      want.error = 6;
      want.address[0] = DATA + DATA_BYTES;
      want.rflags = 0x202 | STATUS;
      want.memory.fill(i);
      const line = caseLine(sequence, cases, batch.offsets[i], want);
      const parsed = parseLine(line);
      assert.strictEqual(caseLine(parsed.sequence, parsed.cases, 0, parsed.want), line);
      assert.deepStrictEqual(difference(parsed.sequence, parsed.cases, 0, parsed.want, parsed.want), []);
    }
  });
});

describe('undefined results of the instruction table', () => {
  it('are flags that iced-x86, too, knows as undefined, or as changed where it depends on a count', () => {
    const bits = RflagsBits as unknown as Record<string, number>;
    const wrong: string[] = [];
    for (const info of CODES) {
      if (!info?.row.undefinedResults) continue;
      const x = new Instruction();
      x.code = info.code;
      if (/_imm8$/.test(info.name)) {
        const last = x.opCount - 1;
        x.setOpKind(last, OpKind.Immediate8);
        x.immediate8 = 5;
      }
      for (const { flags, when } of info.row.undefinedResults) {
        const allowed = when ? x.rflagsUndefined | x.rflagsModified : x.rflagsUndefined;
        for (const name of flags?.split(' ') ?? []) if (!(allowed & bits[name])) wrong.push(`${info.name} ${name}`);
      }
      x.free();
    }
    assert.deepStrictEqual(wrong, []);
  });
});
