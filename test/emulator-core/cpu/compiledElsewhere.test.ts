/** Regions that something else compiles while the machine goes on. */
import assert from 'node:assert/strict';
import { Uop } from '../../../emulator-core/cpu/layout';
import { handlerModule } from '../../../emulator-core/translate/handlerModule';
import { SlowCompiler } from '../slowCompiler';
import { TestMachine, fromHex as hex } from '../testMachine';

const CODE = 0x300000;
const DATA = 0x200000;
const MANY = 20_000;
/** loop: add rax, rdx; mov [rdi], rax; dec rdx; jnz loop; hlt */
const LOOP = '4801d0 488907 48ffca 75f5 f4';

function start(compiler: SlowCompiler, code = LOOP): TestMachine {
  const t = new TestMachine({ compile: 'auto', compiler: () => compiler }).enter('64');
  t.write(CODE, hex(code));
  t.set({ rax: 0, rdx: MANY, rdi: DATA, rcx: MANY });
  t.cpu.rip = BigInt(CODE);
  return t;
}

const sum = (n: number): bigint => (BigInt(n) * BigInt(n + 1)) / 2n;

describe('compiling elsewhere', () => {
  it('does the work of a hot loop: interpreted until the region is there', () => {
    const compiler = new SlowCompiler(5);
    const t = start(compiler);
    t.runInPieces(MANY * 4);
    assert.equal(t.get('rax'), sum(MANY));
    assert.equal(t.machine.core.retired, MANY * 4);
    assert.ok(compiler.jobs > 0);
    const { statistics } = t.machine.core.compiled;
    assert.ok(statistics.regions > 0 && statistics.bytes > 0);
    assert.ok(t.machine.core.compiledInstructions > MANY);
  });

  it('is of no use for code that has changed meanwhile', () => {
    const compiler = new SlowCompiler(1e9);
    const t = start(compiler);
    t.runInPieces(MANY * 2);
    assert.ok(compiler.jobs > 0);
    // sub rax, rdx
    t.machine.writePhysical(CODE, hex('4829d0'));
    Object.assign(compiler, { delay: 1 });
    const [rax, rdx] = [t.get('rax'), Number(t.get('rdx'))];
    t.runInPieces(rdx * 4);
    assert.equal(t.get('rax'), BigInt.asUintN(64, rax - sum(rdx)));
    assert.ok(t.machine.core.compiled.statistics.regions > 0, 'the new code is compiled');
  });

  it('is of no use for micro-ops that are no more', () => {
    const compiler = new SlowCompiler(1e9);
    const t = start(compiler);
    t.runInPieces(MANY * 2);
    const { jobs } = compiler;
    assert.ok(jobs > 0);
    t.machine.core.code.flush();
    t.machine.core.invalidateJumps();
    // Other code at the same addresses, whose micro-ops lie where the loop's were.
    t.machine.writePhysical(CODE, hex('48ffc0 48ffca 75f8 f4'));
    t.set({ rax: 0, rdx: MANY });
    t.cpu.rip = BigInt(CODE);
    Object.assign(compiler, { delay: 1 });
    t.runInPieces(MANY * 3);
    assert.equal(t.get('rax'), BigInt(MANY));
    assert.ok(compiler.jobs > jobs);
  });

  it('says what cannot be compiled, and the rest is planned anew', () => {
    // PADDSW mm0, mm0 is none for regions, which only the compiler finds out.
    const compiler = new SlowCompiler(1);
    const refused: number[] = [];
    const outcomes: string[] = [];
    compiler.onDone = (done) => {
      refused.push(...done.refused.map(([code]) => code));
      outcomes.push(...done.outcomes);
    };
    const t = start(compiler, '4801d0 0fedc0 48ffca 75f5 f4');
    t.runInPieces(MANY * 4);
    assert.equal(t.get('rax'), sum(MANY));
    assert.deepEqual([refused.length, outcomes[0], outcomes.at(-1)], [1, 'plan again', 'compiled']);
    assert.ok(t.machine.core.compiledInstructions > MANY);
  });

  it('has two jobs at a time at most, however often code changes', () => {
    const compiler = new SlowCompiler(1e9);
    const t = start(compiler);
    for (let round = 0; round < 6; round++) {
      t.machine.writePhysical(CODE, hex(LOOP));
      if (round === 3) t.machine.core.code.flush();
      t.set({ rdx: MANY });
      t.cpu.rip = BigInt(CODE);
      t.runInPieces(MANY);
    }
    assert.equal(compiler.jobs, 2);
  });

  it('takes in, plans or sends, but one of these at a time', () => {
    const compiler = new SlowCompiler(1);
    const t = start(compiler);
    const { compiled } = t.machine.core;
    const did: string[] = [];
    const note = <K extends 'compile' | 'finished'>(name: K, happened: (result: unknown) => boolean): void => {
      const body = compiler[name].bind(compiler) as (...args: unknown[]) => unknown;
      Object.assign(compiler, {
        [name]: (...args: unknown[]): unknown => {
          const result = body(...args);
          if (happened(result)) did.push(name);
          return result;
        },
      });
    };
    note('compile', () => true);
    note('finished', (result) => result !== undefined);
    const compileSome = compiled.compileSome.bind(compiled);
    const each: string[][] = [];
    compiled.compileSome = () => {
      did.length = 0;
      compileSome();
      if (did.length) each.push([...did]);
    };
    t.runInPieces(MANY * 4);
    assert.deepEqual(each.slice(0, 2), [['compile'], ['finished']]);
    assert.ok(each.every(({ length }) => length === 1));
  });

  it('plans one region at a time where that takes long, and all in the end', () => {
    // Four loops: mov ecx, 5000; loop: add rax, rcx; dec ecx; jnz loop; and back to the first.
    const code = `${'b988130000 4801c8 ffc9 75f9 '.repeat(4)} ebce`;
    const results = [0, 3].map((step) => {
      let time = 0;
      const compiler = new SlowCompiler(1);
      const counts: number[] = [];
      const compile = compiler.compile.bind(compiler);
      compiler.compile = (id, job) => {
        counts.push(job.count);
        compile(id, job);
      };
      const t = new TestMachine({ compile: 'auto', compiler: () => compiler, now: () => (time += step) }).enter('64');
      t.write(CODE, hex(code));
      t.set({ rax: 0 });
      t.cpu.rip = BigInt(CODE);
      // All four are hot before any is planned.
      t.machine.run(70_000);
      t.runInPieces(600_000);
      assert.ok(t.machine.core.compiledInstructions > 100_000);
      return { first: counts[0], regions: t.machine.core.compiled.statistics.regions, rax: t.get('rax') };
    });
    const [soon, late] = results;
    assert.ok(soon.first >= 4);
    assert.deepEqual(late, { ...soon, first: 1 });
  });

  it('tells each machine what cannot be compiled', () => {
    // One after the other with the same compiler, as a thread's is for all machines of a process.
    const shared = new SlowCompiler(1);
    for (const machine of [1, 2]) {
      const before = shared.jobs;
      const t = start(shared, '4801d0 0fedc0 48ffca 75f5 f4');
      t.runInPieces(MANY * 4);
      assert.ok(t.machine.core.compiledInstructions > MANY, `machine ${machine}`);
      assert.ok(shared.jobs - before <= 3, `machine ${machine}: ${shared.jobs - before} jobs`);
    }
  });

  it('goes on here when what compiles fails', () => {
    const compiler = new SlowCompiler(1e9);
    const t = start(compiler);
    t.runInPieces(MANY);
    assert.ok(compiler.jobs > 0);
    compiler.failed = true;
    t.runInPieces(MANY * 3);
    assert.equal(t.get('rax'), sum(MANY));
    assert.ok(t.machine.core.compiled.statistics.regions > 0);
  });

  it('gets micro-ops with the interpreter’s handlers, wherever they lie', () => {
    const compiler = new SlowCompiler(2);
    const ends: number[] = [];
    const lengths = new Set<number>();
    const compile = compiler.compile.bind(compiler);
    const { tableSize } = handlerModule();
    compiler.compile = (id, job) => {
      const words = Uop.bytes / 4;
      for (let at = 0; at < job.uops.length;) {
        const [first, count] = [job.uops[at], job.uops[at + 1]];
        assert.ok(first + count * Uop.bytes <= job.end);
        at += 2;
        for (let i = 0; i < count; i++, at += words) {
          const handler = job.uops[at + (Uop.handler >> 2)];
          assert.ok(handler >= 0 && handler < tableSize);
          lengths.add(job.uops[at + (Uop.length >> 2)]);
        }
      }
      ends.push(job.end);
      compile(id, job);
    };
    const t = start(compiler);
    t.runInPieces(MANY * 4);
    assert.deepEqual(new Set(ends), new Set([t.machine.memory.uopEnd]));
    // Those of the loop's instructions: 3, 3, 3 and 2 bytes; and what comes behind them is none, or HLT.
    assert.ok(lengths.has(3) && lengths.has(2) && [...lengths].every((length) => length <= 3), `${[...lengths]}`);
  });
});
