/** Decoded code and stores into it: in the running instruction's own block, in and across pages, through other mappings. */
import assert from 'node:assert';
import { Core } from '../../../emulator-core/cpu/core';
import { Jump, State, Uop, jumpEntry } from '../../../emulator-core/cpu/layout';
import { TestMachine } from '../testMachine';

const CODE = 0x100000;

describe('self-modifying code', () => {
  it('a store into the next instruction takes effect at once', () => {
    // mov byte [rip+1], 2 over the immediate of: mov al, 1
    const t = new TestMachine().enter('64').run(CODE, 'c6050100000002 b001', {}, 2);
    assert.strictEqual(t.get('rax'), 2n);
    // In one go, with more of the block decoded behind it.
    const u = new TestMachine().enter('64').run(CODE, 'c6050100000002 b001 90 90 90', {}, 5);
    assert.strictEqual(u.get('rax'), 2n);
    assert.strictEqual(u.cpu.rip, BigInt(CODE + 12));
    assert.strictEqual(u.machine.core.retired, 5);
  });

  it('a read-modify-write of code too', () => {
    const t = new TestMachine().enter('64').run(CODE, '80050100000005 b001 90', {}, 3);
    assert.strictEqual(t.get('rax'), 6n);
    assert.strictEqual(t.machine.core.retired, 3);
  });

  it('code that ran before and is patched runs anew, also through the jump cache', () => {
    const t = new TestMachine().enter('64');
    t.writeHex(0x110000, 'b801000000 c3');
    // call rbx; mov [rbx+1], ecx; call rbx; jmp self
    t.run(CODE, 'ffd3 894b01 ffd3 ebfe', { rbx: 0x110000, rcx: 99, rsp: 0x9000 }, 8);
    assert.strictEqual(t.get('rax'), 99n);
  });

  it('a store to data on a code page leaves the code as it is', () => {
    const t = new TestMachine().enter('64').run(CODE, 'ffc0 8983 00010000 ebf6', { rbx: CODE }, 300);
    assert.strictEqual(t.get('rax'), 100n);
    assert.strictEqual(t.read32(CODE + 0x100), 100);
  });

  it('an instruction across a page end, patched in its second page, in a loop', () => {
    const t = new TestMachine().enter('64');
    // 100ffd: b8 imm32 (mov eax, imm32) ends at 101002; then: inc dword [100fff+2]; dec ecx; jnz back
    t.writeHex(CODE + 0xffd, 'b8 05000000' + 'ff03' + 'ffc9' + '75f5' + 'ebfe');
    t.set({ rbx: CODE + 0x1000, rcx: 4 });
    t.cpu.rip = BigInt(CODE + 0xffd);
    t.machine.run(16);
    // Bytes 101000.. are the immediate's two upper bytes: each round adds 10000h.
    assert.strictEqual(t.get('rax'), 0x30005n);
    assert.strictEqual(t.get('rcx'), 0n);
  });

  it('a page-crossing instruction reached again and again', () => {
    const t = new TestMachine().enter('64');
    t.writeHex(CODE + 0xffd, '05 01000000' + 'ebf9'); // add eax, 1; jmp back
    t.cpu.rip = BigInt(CODE + 0xffd);
    t.machine.run(1000);
    assert.strictEqual(t.get('rax'), 500n);
    assert.deepStrictEqual(t.notes, []);
  });

  it('a write through another mapping of the page is seen', () => {
    const t = new TestMachine().enter('64');
    t.write64(0x3000 + 3 * 8, 0x87n); // 600000h maps physical 0
    t.cpu.set64(State.cr3, 0x1000n);
    t.machine.core.flushAllTranslations();
    t.writeHex(0x110000, 'b801000000 c3');
    t.run(CODE, 'ffd3 894e01 ffd3 ebfe', { rbx: 0x110000, rsi: 0x710000, rcx: 99, rsp: 0x9000 }, 8);
    assert.strictEqual(t.get('rax'), 99n);
  });

  it('what the debugger writes is seen', () => {
    const t = new TestMachine().enter('64').run(CODE, 'b801000000 ebf9', {}, 10);
    t.writeHex(CODE + 1, '07');
    t.machine.run(10);
    assert.strictEqual(t.get('rax'), 7n);
  });

  it('REP MOVSB over its own code stops short of nothing', () => {
    const t = new TestMachine().enter('64');
    t.writeHex(0x200000, 'b002');
    t.run(CODE, 'f3a4 b001 90', { rsi: 0x200000, rdi: CODE + 2, rcx: 2 }, 4);
    assert.strictEqual(t.get('rax'), 2n);
    assert.strictEqual(t.machine.core.retired, 4);
  });
});

describe('the pages of the code cache', () => {
  it('keep nothing of their micro-ops once these are dropped', () => {
    const t = new TestMachine().enter('64').run(CODE, '90 90 90', {}, 3);
    const { code } = t.machine.core;
    const page = code.pageOf(t.machine.memory.uopBase)!;
    assert.ok(page.valid && page.uops.length > 0);
    code.drop(page.physical);
    assert.deepStrictEqual([page.valid, page.uops.length, page.uop(CODE & 0xfff)], [false, 0, undefined]);
  });

  it('are bounded: code on ever more pages empties it', () => {
    const { core } = new TestMachine().machine;
    const context = core.code.context('bounded', () => ({ decode: { bitness: 64, flat: [], units: {} } as never }));
    const first = core.code.page(context, 0);
    for (let page = 1; page <= 10_000; page++) core.code.page(context, page);
    assert.strictEqual(core.code.flushes, 1);
    assert.strictEqual(first.valid, false);
    const again = core.code.page(context, 0);
    assert.notStrictEqual(again, first);
    assert.strictEqual(again.valid, true);
  });
});

describe('direct branches in a page', () => {
  it('are linked, back and forth, before they go there, as far as it is decoded', () => {
    const t = new TestMachine().enter('64');
    // nop; jz to the second nop behind; nop; nop; jnz to the first; jz to where nothing is decoded; hlt
    t.run(CODE, '90 7401 90 90 75f9 7420 f4');
    const { i32 } = t.machine.memory;
    const first = i32[(jumpEntry(t.cpu.base, CODE) + Jump.uop) >> 2];
    const place = (i: number): number => first + i * Uop.bytes;
    const target = (i: number): number => i32[(place(i) + Uop.target) >> 2];
    // Where each instruction is observed, nothing is decoded behind branches.
    if (Core.observer) assert.strictEqual(target(1), 0);
    else assert.deepStrictEqual([target(1), target(4), target(5)], [place(3), place(0), 0]);
  });
});
