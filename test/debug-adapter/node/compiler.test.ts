/** The thread that compiles: a real one. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { CompilerThread } from '../../../debug-adapter/node/compiler';
import { TestMachine, fromHex as hex } from '../../emulator-core/testMachine';

const CODE = 0x300000;
const THREAD = path.join(__dirname, '../../../debug-adapter/node/compilerThread.ts');
/** loop: add rax, rdx; dec rdx; jmp to the start unless 0; hlt */
const LOOP = '4801d0 48ffca 75f8 f4';
const ROUNDS = 0x7fffffff;

const wait = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

function machine(thread: CompilerThread): TestMachine {
  const t = new TestMachine({ compile: 'auto', compiler: () => thread.compiler() }).enter('64');
  t.write(CODE, hex(LOOP));
  t.set({ rax: 0, rdx: ROUNDS });
  t.cpu.rip = BigInt(CODE);
  return t;
}

/** Runs until `done` says so; the numbers stay right all along. */
async function until(t: TestMachine, done: () => boolean): Promise<void> {
  for (let i = 0; !done(); i++) {
    assert.ok(i < 6000, 'a minute has gone by');
    t.runInPieces(30_000);
    const left = Number(t.get('rdx'));
    assert.equal(t.machine.core.retired % 3, 0);
    assert.equal(ROUNDS - left, t.machine.core.retired / 3);
    await wait(10);
  }
}

describe('the compiler thread', function () {
  this.timeout(120_000);

  it('compiles for several machines of the process', async () => {
    const thread = new CompilerThread(THREAD, ['-r', 'tsx/cjs']);
    try {
      const machines = [machine(thread), machine(thread)];
      for (const t of machines) {
        await until(t, () => t.machine.core.compiledInstructions > 100_000);
        assert.ok(t.machine.core.compiled.statistics.regions >= 1);
      }
      assert.ok(thread.replies >= 2);
    } finally {
      await thread.end();
    }
  });

  it('is not missed when it ends, or cannot begin', async () => {
    const thread = new CompilerThread(THREAD, ['-r', 'tsx/cjs']);
    const t = machine(thread);
    await thread.end();
    await until(t, () => t.machine.core.compiledInstructions > 100_000);
    assert.equal(thread.replies, 0);

    const none = new CompilerThread(THREAD + '.missing');
    const u = machine(none);
    await until(u, () => u.machine.core.compiledInstructions > 100_000);
    assert.equal(none.replies, 0);
  });
});
