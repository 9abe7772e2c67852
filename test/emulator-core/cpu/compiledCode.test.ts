/** Compiled regions: made of what is hot, given up when code changes or room is short, and never seen by guest or debugger. */
import assert from 'node:assert/strict';
import type { MachineHooks, MachineOptions } from '../../../emulator-core/machine';
import { Core } from '../../../emulator-core/cpu/core';
import { linearPage } from '../../../emulator-core/cpu/memoryPath';
import { State } from '../../../emulator-core/cpu/layout';
import { TestMachine, fromHex as hex } from '../testMachine';

const CODE = 0x300000;
const DATA = 0x200000;
/** More rounds than make a loop hot. */
const MANY = 20_000;

/** loop: add rax, rdx; mov [rdi], rax; dec rdx; jnz loop; hlt */
const LOOP = '4801d0 488907 48ffca 75f5 f4';
const STORE = 3;
const JNZ = 9;

function machine(options: Partial<MachineOptions> = {}, hooks: Partial<MachineHooks> = {}): TestMachine {
  const t = new TestMachine({ compile: 'auto', ...options }, hooks).enter('64');
  t.write(CODE, hex(LOOP));
  return t;
}

function start(t: TestMachine, rounds: number): void {
  t.set({ rax: 0, rdx: rounds, rdi: DATA });
  t.machine.vcpus[0].rip = BigInt(CODE);
}

/** Sum of the numbers from 1 to n. */
const sum = (n: number): bigint => (BigInt(n) * BigInt(n + 1)) / 2n;

describe('compiled code', () => {
  it('does the work of a hot loop', () => {
    const t = machine();
    start(t, MANY);
    t.runInPieces(MANY * 4);
    const { core } = t.machine;
    assert.equal(t.get('rax'), sum(MANY));
    assert.equal(t.read64(DATA), sum(MANY));
    assert.equal(core.retired, MANY * 4);
    assert.ok(core.compiled.statistics.regions >= 1);
    assert.ok(core.compiledInstructions > MANY, `${core.compiledInstructions} compiled`);
    assert.ok(core.compiledInstructions < core.retired);
  });

  it('is not made with compiling off, and of everything with always', () => {
    const off = machine({ compile: 'off' });
    start(off, MANY);
    off.runInPieces(MANY * 4);
    assert.equal(off.machine.core.compiledInstructions, 0);
    assert.equal(off.machine.core.compiled.statistics.regions, 0);
    const always = machine({ compile: 'always' });
    start(always, 10);
    always.runInPieces(40, 40);
    // The first store misses the soft TLB, and the interpreter does it and what is behind it up to the next block.
    assert.ok(always.machine.core.compiledInstructions >= 30, `${always.machine.core.compiledInstructions}`);
    assert.equal(always.get('rax'), sum(10));
  });

  it('is made thriftily with always when much has been made', () => {
    const INSTRUCTIONS = 1500;
    const made = (thorough?: number): number => {
      const t = machine({ compile: 'always' });
      const { compiled } = t.machine.core;
      if (thorough !== undefined) compiled.thorough = thorough;
      // inc eax, so many times; hlt
      t.write(CODE, hex(`${'ffc0'.repeat(INSTRUCTIONS)} f4`));
      start(t, 1);
      t.runInPieces(INSTRUCTIONS);
      assert.equal(t.get('rax'), BigInt(INSTRUCTIONS));
      assert.ok(compiled.statistics.instructions >= INSTRUCTIONS);
      return compiled.statistics.regions;
    };
    // As far as it is decoded when it is entered, which is 64 instructions; a single one where each is observed.
    const [thorough, thrifty] = [made(), made(0)];
    assert.ok(thorough <= (Core.observer ? INSTRUCTIONS : INSTRUCTIONS / 60), `${thorough} regions`);
    assert.ok(thrifty >= INSTRUCTIONS / 48, `${thrifty} regions`);
  });

  it('stops at any instruction', () => {
    const t = machine();
    start(t, MANY);
    t.runInPieces(MANY * 3);
    const places = [0, STORE, 6, JNZ];
    for (let i = 0, at = 0; i < 60; i++) {
      const n = 1 + ((i * 7) % 23);
      t.runInPieces(n, n);
      at = (at + n) % 4;
      assert.equal(t.machine.vcpus[0].rip, BigInt(CODE + places[at]));
    }
  });

  it('is dropped when its code changes', () => {
    const t = machine();
    start(t, MANY);
    t.runInPieces(MANY * 2);
    const { statistics } = t.machine.core.compiled;
    assert.ok(statistics.regions > 0 && statistics.bytes > 0);
    // sub rax, rdx
    t.machine.writePhysical(CODE, hex('4829d0'));
    assert.equal(statistics.bytes, 0);
    assert.ok(statistics.dropped > 0);
    const [rax, rdx] = [t.get('rax'), Number(t.get('rdx'))];
    t.runInPieces(rdx * 4);
    assert.equal(t.get('rax'), BigInt.asUintN(64, rax - sum(rdx)));
  });

  it('stops at breakpoints set in it, and at data breakpoints', () => {
    let at: bigint | undefined;
    const hits: bigint[] = [];
    const t = machine(
      {},
      {
        breakpointsOn: (page) =>
          at !== undefined && page === linearPage(at)
            ? { key: `${at}`, offsets: new Set([Number(at & 0xfffn)]) }
            : undefined,
        breakpoint: (_cpu, linear) => {
          hits.push(linear);
          return linear === at;
        },
        watch: () => true,
      },
    );
    start(t, MANY);
    t.runInPieces(MANY * 2);
    at = BigInt(CODE + STORE);
    t.machine.core.invalidateJumps();
    const before = t.machine.core.retired;
    t.machine.run(1000);
    assert.ok(t.machine.core.retired - before <= 4);
    assert.equal(t.machine.vcpus[0].rip, at);
    assert.deepEqual(hits, [at]);
    at = undefined;
    t.machine.core.invalidateJumps();
    t.machine.resume();
    t.runInPieces(4000);
    t.machine.core.memoryPath.watchedLinear.add(linearPage(BigInt(DATA)));
    t.machine.core.flushAllTranslations();
    const then = t.machine.core.retired;
    t.machine.run(1000);
    assert.ok(t.machine.core.retired - then <= 4);
    assert.equal(t.machine.vcpus[0].rip, BigInt(CODE + 6));
  });

  it('is given up when there is no more room, and made again', () => {
    const t = machine({ compiledBytes: 1500 });
    const { statistics } = t.machine.core.compiled;
    for (let round = 0; round < 6; round++) {
      // The same loop on another page each time.
      const code = CODE + round * 0x1000;
      t.write(code, hex(LOOP));
      t.set({ rax: 0, rdx: MANY, rdi: DATA });
      t.machine.vcpus[0].activity = 'active';
      t.machine.vcpus[0].rip = BigInt(code);
      t.runInPieces(MANY * 4);
      assert.equal(t.get('rax'), sum(MANY));
      assert.ok(statistics.bytes <= 1500, `${statistics.bytes} bytes`);
    }
    assert.ok(statistics.evicted > 0);
    assert.ok(statistics.regions >= 6);
  });

  it('is put into fewer modules when it is in too many, which the host has no room for', () => {
    const t = machine({ compiledModules: 3 });
    const { statistics } = t.machine.core.compiled;
    // Another loop each time, so long after the one before that it gets a module of its own.
    for (let round = 0; round < 8; round++) {
      const code = CODE + round * 0x40;
      t.write(code, hex(LOOP));
      start(t, MANY);
      t.machine.vcpus[0].activity = 'active';
      t.machine.vcpus[0].rip = BigInt(code);
      t.runInPieces(MANY * 4);
      assert.equal(t.get('rax'), sum(MANY));
      assert.ok(statistics.modules >= 1 && statistics.modules <= 3, `${statistics.modules} modules`);
    }
    assert.equal(statistics.evicted, 0);
    // Those of code that changes are gone, too.
    t.machine.writePhysical(CODE, hex('90'));
    assert.equal(statistics.modules, 0);
    assert.equal(statistics.bytes, 0);
  });

  it('leaves what the interpreter has to do to it, with nothing done of it', () => {
    // loop: mov [rdi], rdx; add rdi, 0x1000; dec rdx; jnz loop, into pages that are not there.
    const t = new TestMachine({ compile: 'always' }).enter('64');
    t.write(CODE, hex('488917 4881c700100000 48ffca 75f1 f4'));
    t.set({ rdx: 1 << 30, rdi: 0x3ff000 });
    const cpu = t.machine.vcpus[0];
    cpu.rip = BigInt(CODE);
    // Beyond the guest's page tables.
    for (let i = 0; i < 400 && t.vector === undefined; i++) t.runInPieces(4000, 4000);
    assert.equal(t.vector, 14);
    assert.equal(cpu.get64(State.cr2), t.get('rdi'));
    assert.equal(t.get('rdi') & 0xfffn, 0n);
  });
});
