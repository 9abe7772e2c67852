/**
 * INVLPG and INVPCID. SDM Vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches" and "Recommended Invalidation"; Vol. 2,
 * "INVLPG—Invalidate TLB Entries", "INVPCID—Invalidate Process-Context Identifier".
 */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr0, Cr4 } from '../../../emulator-core/cpu/vcpu';
import { TestMachine } from '../testMachine';

const CODE = 0x100000;
const TABLE = 0xd000;
const DIRECTORY = 0x3000;
const AREA = 0x400000;
const OTHER = 0x600000;
const P = 1, W = 2, U = 4, PS = 0x80; // prettier-ignore
const READ = '8b03'; // mov eax, [rbx]
const INVLPG = '0f013b'; // invlpg [rbx]

const page = (n: number, area = AREA): number => area + n * 4096;
const map = (t: TestMachine, n: number, to: number): void => t.write64(TABLE + n * 8, BigInt(to | P | W | U));

/** 64-bit mode, AREA in pages of 4 KiB, each to itself; the first bytes of each page of AREA and of OTHER are its address. */
function machine(cpl: 0 | 3 = 0): TestMachine {
  const t = new TestMachine().enter('64', cpl);
  t.write64(DIRECTORY + 2 * 8, BigInt(TABLE | P | W | U));
  for (let n = 0; n < 512; n++) {
    map(t, n, page(n));
    for (const area of [AREA, OTHER]) t.write32(page(n, area), page(n, area));
  }
  t.machine.core.flushAllTranslations();
  return t;
}
function read(t: TestMachine, address: number): number {
  t.run(CODE, READ, { rbx: address, rsp: 0x9000 });
  assert.strictEqual(t.vector, undefined);
  return Number(t.get('rax'));
}
function invalidate(t: TestMachine, address: number): void {
  t.run(CODE + 0x100, INVLPG, { rbx: address });
  assert.strictEqual(Number(t.cpu.rip), CODE + 0x100 + 3);
}

describe('INVLPG of a page of 4 KiB', () => {
  it('forgets that page, and keeps others', () => {
    const t = machine();
    for (const n of [0, 1, 2]) assert.strictEqual(read(t, page(n)), page(n));
    map(t, 1, page(1, OTHER));
    const misses = t.machine.core.memoryPath.tlbMisses;
    invalidate(t, page(1) + 0x123);
    assert.strictEqual(read(t, page(1)), page(1, OTHER));
    assert.strictEqual(t.machine.core.memoryPath.tlbMisses, misses + 1);
    for (const n of [0, 2]) assert.strictEqual(read(t, page(n)), page(n));
    assert.strictEqual(t.machine.core.memoryPath.tlbMisses, misses + 1, 'the others are still there');
  });

  it('forgets it for loads and stores of users and supervisors, with SMAP and without', () => {
    const t = machine();
    t.cpu.set64(State.cr4, BigInt(Cr4.PAE | Cr4.SMAP));
    const level = (cpl: 0 | 3, ac: boolean): void => {
      t.segment('cs', cpl ? 0x43 : 8, 0, 0xffffffff, cpl ? 0xa0fb : 0xa09b);
      t.segment('ss', cpl ? 0x3b : 0x10, 0, 0xffffffff, cpl ? 0xc0f3 : 0xc093);
      t.cpu.rflags = ac ? 0x40002 : 2;
      t.cpu.modeChanged();
    };
    // Page 1 is a supervisor page; SMAP is suspended by AC.
    const supervisor = (to: number): void => t.write64(TABLE + 8, BigInt(to | P | W));
    supervisor(page(1));
    for (const [cpl, ac, n] of [[3, false, 0], [0, true, 0], [0, false, 1]] as const) {
      level(cpl, ac);
      for (const code of [READ, '8903']) {
        t.run(CODE, code, { rbx: page(n), rax: page(n), rsp: 0x9000 });
        assert.strictEqual(t.vector, undefined);
      }
    }
    map(t, 0, page(0, OTHER));
    supervisor(page(1, OTHER));
    level(0, false);
    invalidate(t, page(0));
    invalidate(t, page(1));
    for (const [cpl, ac, n] of [[3, false, 0], [0, true, 0], [0, false, 1]] as const) {
      level(cpl, ac);
      assert.strictEqual(read(t, page(n)), page(n, OTHER), `CPL ${cpl}, AC ${ac}`);
    }
  }); // prettier-ignore

  it('an absent page faults afterwards', () => {
    const t = machine();
    read(t, page(7));
    t.write64(TABLE + 7 * 8, 0n);
    invalidate(t, page(7));
    t.run(CODE, READ, { rbx: page(7), rsp: 0x9000 });
    assert.deepStrictEqual([t.vector, Number(t.cpu.get64(State.cr2))], [14, page(7)]);
  });

  it('an address that wraps at 4 GiB in 32-bit code', () => {
    const t = new TestMachine().enter('32');
    for (let i = 0; i < 4; i++) t.write32(0x1000 + i * 4, (i * 0x400000) | P | W | U | PS);
    t.write32(0x1000 + 4, TABLE | P | W | U);
    for (const n of [0, 1]) t.write32(TABLE + n * 4, page(n) | P | W | U);
    for (const n of [0, 1]) t.write32(page(n), page(n));
    t.cpu.set64(State.cr4, BigInt(Cr4.PSE));
    t.cpu.set64(State.cr0, BigInt((t.cpu.cr0 | Cr0.PG) >>> 0));
    t.segment('ds', 0x10, AREA + 0x1000, 0xffffffff, 0xc093);
    t.machine.core.flushAllTranslations();
    const below = 0xfffff000; // AREA, one page below the segment's base
    t.run(CODE, READ, { rbx: below, rsp: 0x9000 });
    assert.strictEqual(Number(t.get('rax')), page(0));
    t.write32(TABLE, page(1) | P | W | U);
    t.run(CODE, INVLPG + READ, { rbx: below }, 2);
    assert.strictEqual(Number(t.get('rax')), page(1));
  });
});

describe('INVLPG of a page in a large page', () => {
  it('of 2 MiB: all of its translations are forgotten', () => {
    const t = machine();
    const large = (to: number): void => t.write64(DIRECTORY + 2 * 8, BigInt(to | P | W | U | PS));
    large(AREA);
    invalidate(t, AREA);
    for (const n of [0, 5, 511]) assert.strictEqual(read(t, page(n)), page(n));
    large(OTHER);
    invalidate(t, page(300));
    for (const n of [0, 5, 511]) assert.strictEqual(read(t, page(n)), page(n, OTHER));
  });

  it('that has become small pages since', () => {
    const t = machine();
    t.write64(DIRECTORY + 2 * 8, BigInt(OTHER | P | W | U | PS));
    for (const n of [3, 4]) assert.strictEqual(read(t, page(n)), page(n, OTHER));
    t.write64(DIRECTORY + 2 * 8, BigInt(TABLE | P | W | U));
    invalidate(t, page(3));
    for (const n of [3, 4]) assert.strictEqual(read(t, page(n)), page(n));
  });

  it('of 4 MiB, from its other half', () => {
    const t = new TestMachine({ memory: 16 << 20 }).enter('32');
    for (let i = 0; i < 4; i++) t.write32(0x1000 + i * 4, (i * 0x400000) | P | W | U | PS);
    for (const address of [0x400000, 0x700000, 0x800000, 0xb00000]) t.write32(address, address);
    t.cpu.set64(State.cr4, BigInt(Cr4.PSE));
    t.cpu.set64(State.cr0, BigInt((t.cpu.cr0 | Cr0.PG) >>> 0));
    t.machine.core.flushAllTranslations();
    assert.strictEqual(read(t, 0x400000), 0x400000);
    t.write32(0x1004, 0x800000 | P | W | U | PS);
    t.run(CODE, INVLPG + READ, { rbx: 0x700000 }, 2);
    assert.strictEqual(Number(t.get('rax')), 0xb00000);
    assert.strictEqual(read(t, 0x400000), 0x800000);
  });

  it('of 1 GiB', () => {
    const t = new TestMachine({ memory: 16 << 20, features: ['+pdpe1gb'] }).enter('64');
    // The second GiB of linear addresses, and the first of memory.
    t.write64(0x2000 + 8, BigInt(P | W | U | PS));
    t.write32(0x200000, 0x11);
    assert.strictEqual(read(t, 0x40200000), 0x11);
    t.write64(0x2000 + 8, BigInt(TABLE | P | W | U));
    for (let i = 0; i < 512; i++) t.write64(TABLE + i * 8, BigInt(0x400000 | P | W | U | PS));
    t.write32(0x400000, 0x22);
    t.run(CODE, INVLPG, { rbx: 0x7fe00000 });
    assert.strictEqual(read(t, 0x40200000), 0x22);
  });
});

describe('INVLPG of a page with code', () => {
  /** Two versions of a routine: mov eax, n; ret. */
  const routine = (n: number): string => `b8${n.toString(16).padStart(2, '0')}000000c3`;
  const call = (t: TestMachine, target: number): number => {
    t.run(CODE, 'ffd3', { rbx: target, rsp: 0x9000 }, 3); // call rbx
    assert.strictEqual(Number(t.cpu.rip), CODE + 2);
    return Number(t.get('rax'));
  };

  it('code mapped there since then runs', () => {
    const t = machine();
    t.writeHex(page(9) + 0x40, routine(1));
    t.writeHex(page(9, OTHER) + 0x40, routine(2));
    for (let i = 0; i < 3; i++) assert.strictEqual(call(t, page(9) + 0x40), 1);
    map(t, 9, page(9, OTHER));
    invalidate(t, page(9));
    assert.strictEqual(call(t, page(9) + 0x40), 2);
    map(t, 9, page(9));
    invalidate(t, page(9));
    assert.strictEqual(call(t, page(9) + 0x40), 1);
  });

  it('also where the page’s fetch translation was replaced by another page’s', () => {
    const t = new TestMachine({ memory: 32 << 20 }).enter('64');
    t.write64(DIRECTORY + 2 * 8, BigInt(TABLE | P | W | U));
    for (let n = 0; n < 512; n++) map(t, n, page(n));
    for (let i = 8; i < 16; i++) t.write64(DIRECTORY + i * 8, BigInt((i * 0x200000) | P | W | U | PS));
    t.machine.core.flushAllTranslations();
    t.writeHex(page(9) + 0x40, routine(1));
    t.writeHex(page(10) + 0x40, routine(2));
    assert.strictEqual(call(t, page(9) + 0x40), 1);
    // 4, 8, 12 ... MiB further.
    for (let at = page(9) + 0x400000; at < 0x2000000; at += 0x400000) {
      t.writeHex(at, routine(3));
      if (at >= 0x1000000) assert.strictEqual(call(t, at), 3);
    }
    map(t, 9, page(10));
    invalidate(t, page(9));
    assert.strictEqual(call(t, page(9) + 0x40), 2);
  });

  it('the instruction behind it comes from the new mapping', () => {
    const t = machine();
    const store = '48890c25' + '68d00000'; // mov [TABLE + 13 * 8], rcx
    t.writeHex(page(13), store + INVLPG + 'b801000000' + 'ebfe');
    t.writeHex(page(13, OTHER), store + INVLPG + 'b802000000' + 'ebfe');
    t.cpu.rip = BigInt(page(13));
    t.set({ rbx: page(13), rcx: BigInt(page(13, OTHER) | P | W | U) });
    t.machine.run(10);
    assert.strictEqual(Number(t.get('rax')), 2);
  });

  it('is counted exactly however the run is sliced', () => {
    const states = [1, 3, 1000].map((slice) => {
      const t = machine();
      t.writeHex(CODE, INVLPG + '8b03' + 'ffc1' + 'ebf7'); // invlpg [rbx]; mov eax, [rbx]; inc ecx; jmp
      t.cpu.rip = BigInt(CODE);
      t.set({ rbx: page(1), rcx: 0 });
      for (let left = 999; left > 0; left -= slice) t.machine.run(Math.min(slice, left));
      return [t.machine.core.retired, t.cpu.rip, t.get('rcx'), t.machine.core.memoryPath.tlbMisses];
    });
    assert.deepStrictEqual(states[1], states[0]);
    assert.deepStrictEqual(states[2], states[0]);
    assert.strictEqual(Number(states[0][2]), 250);
  });
});

describe('INVPCID', () => {
  const machineWith = (): TestMachine => {
    const t = new TestMachine({ features: ['+pcid', '+invpcid'] }).enter('64');
    t.write64(DIRECTORY + 2 * 8, BigInt(TABLE | P | W | U));
    t.cpu.set64(State.cr4, BigInt(Cr4.PAE | Cr4.PGE));
    for (const n of [0, 1]) {
      t.write32(page(n), page(n));
      t.write32(page(n, OTHER), page(n, OTHER));
    }
    map(t, 0, page(0));
    t.write64(TABLE + 8, BigInt(page(1) | P | W | U | 0x100)); // global
    t.machine.core.flushAllTranslations();
    return t;
  };
  const invpcid = (t: TestMachine, type: number, address = 0): void => {
    t.write64(0x20000, 0n);
    t.write64(0x20008, BigInt(address));
    t.run(CODE + 0x100, '660f38820b', { rcx: type, rbx: 0x20000 }); // invpcid rcx, [rbx]
    assert.strictEqual(t.vector, undefined);
  };

  it('of an address forgets its page', () => {
    const t = machineWith();
    read(t, page(0));
    map(t, 0, page(0, OTHER));
    invpcid(t, 0, page(1));
    invpcid(t, 0, page(0) + 8);
    assert.strictEqual(read(t, page(0)), page(0, OTHER));
  });

  it('of a context, and of all but global pages, forgets what is not global; of all forgets all', () => {
    for (const type of [1, 2, 3]) {
      const t = machineWith();
      for (const n of [0, 1]) read(t, page(n));
      map(t, 0, page(0, OTHER));
      map(t, 1, page(1, OTHER));
      invpcid(t, type);
      assert.strictEqual(read(t, page(0)), page(0, OTHER), `type ${type}`);
      if (type === 2) assert.strictEqual(read(t, page(1)), page(1, OTHER));
    }
  });
});

describe('what INVLPG forgets when history is replayed', () => {
  it('is what it forgot the first time, whatever was cached before the checkpoint', () => {
    const t = machine();
    const { machine: m } = t;
    t.cpu.rflags = 2;
    m.record();
    read(t, OTHER); // a page of 2 MiB, before the checkpoint
    m.history.take();
    const from = m.core.retired;
    // mov eax, [rbx]; invlpg [rsi]; mov [rcx], rdx (the entry without its accessed flag); mov eax, [rbx]; mov r8, [rcx]
    t.writeHex(CODE, READ + '0f013e' + '488911' + READ + '4c8b01' + 'ebfe');
    const start = (): void => {
      t.set({ rbx: page(1), rsi: OTHER + 0x3000, rcx: TABLE + 8, rdx: page(1) | P | W | U, r8: 0 });
      t.cpu.rip = BigInt(CODE);
    };
    start();
    m.run(20);
    const first = t.get('r8');
    m.history.restoreBefore(from);
    t.writeHex(CODE, READ + '0f013e' + '488911' + READ + '4c8b01' + 'ebfe');
    start();
    m.run(20);
    assert.strictEqual(t.get('r8'), first);
  });
});
