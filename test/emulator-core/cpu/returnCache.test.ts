/**
 * The return cache: near returns go back to calls through it, and nobody can tell by what they do. What a call and a return do is in
 * SDM Vol. 2, CALL and RET; that code may be changed, or mapped elsewhere, in between, in Vol. 3A, "Self-Modifying Code" and
 * "Invalidation of TLBs and Paging-Structure Caches".
 */
import assert from 'node:assert/strict';
import { Core } from '../../../emulator-core/cpu/core';
import { Jump, RETURN_ENTRIES, State, VCPU_JUMPS, VCPU_RETURNS, jumpEntry } from '../../../emulator-core/cpu/layout';
import type { CompileMode } from '../../../emulator-core/cpu/compiledCode';
import { KvmMachine } from '../guest/kvm/kvmMachine';
import { TABLES, TestMachine, type Mode } from '../testMachine';

/** In the fourth 2 MiB, which the page tables map by one entry. */
const CALLER = 0x600000;
const CALLEE = 0x300000;
const RSP = 0x9000;
const ROUNDS = 1000;

/** call; inc ebx; dec edx; jnz CALLER; hlt. */
const around = (call: string): string => {
  const back = (254 - (call.replaceAll(' ', '').length / 2 + 4)) & 0xff;
  return `${call} ffc3 ffca 75${back.toString(16).padStart(2, '0')} f4`;
};
/** call; inc ebx; hlt. */
const ONCE = 'ffd0 ffc3 f4';

const RETURN = 'c3';

function machine(compile: CompileMode, mode: Mode = '64'): TestMachine {
  return new TestMachine({ compile }).enter(mode);
}

function start(t: TestMachine, caller: string, callee: string, rounds = ROUNDS): void {
  t.writeHex(CALLEE, callee);
  t.writeHex(CALLER, caller);
  t.set({ rax: CALLEE, rbx: 0, rdx: rounds, rsp: RSP });
  t.cpu.rip = BigInt(CALLER);
}

/** The jump cache leads to what is at an rip. */
function isInJumpCache(t: TestMachine, rip: number): boolean {
  return t.machine.memory.i32[(jumpEntry(t.cpu.base, rip) + Jump.rip) >> 2] === rip;
}

function clearCaches(t: TestMachine): void {
  const { base } = t.cpu;
  t.machine.memory.u8.fill(0, base + VCPU_JUMPS, base + VCPU_RETURNS + RETURN_ENTRIES * Jump.entrySize);
}

for (const compile of ['off', 'always'] as const) {
  describe(`return cache, compiling ${compile}`, () => {
    for (const [what, mode, call] of [
      ['CALL', '64', 'e8fbffcfff'],
      ['CALL r64', '64', 'ffd0'],
      ['CALL m64', '64', 'ff10'],
      ['CALL r32', '32', 'ffd0'],
      ['CALL m32', 'compat', 'ff10'],
    ] as const) {
      it(`takes returns back to ${what} in ${mode} code`, () => {
        const t = machine(compile, mode);
        start(t, around(call), RETURN);
        if (call === 'ff10') {
          t.write64(0x200000, BigInt(CALLEE));
          t.set({ rax: 0x200000 });
        }
        // What is decoded, and made into regions, goes through the run loop.
        t.runInPieces(5 * 50, 5);
        clearCaches(t);
        const before = t.machine.core.compiledInstructions;
        t.runInPieces(5 * (ROUNDS - 50), 500);
        assert.deepEqual([t.get('rbx'), t.get('rdx'), t.get('rsp')], [BigInt(ROUNDS), 0n, BigInt(RSP)]);
        assert.equal(t.machine.core.retired, 5 * ROUNDS);
        // All but the last before each stop; calls and returns that leave their regions count, too.
        const compiled = t.machine.core.compiledInstructions - before;
        if (compile === 'always') assert.ok(compiled > 0.9 * 5 * (ROUNDS - 50), `${compiled} compiled`);
        assert.ok(compiled <= 5 * (ROUNDS - 50), `${compiled} compiled`);
        // Where each instruction is observed, nothing is decoded behind calls.
        assert.equal(isInJumpCache(t, CALLER + call.length / 2), Core.observer !== undefined);
      });
    }

    it('takes returns of calls that are deeper than it is large', () => {
      const t = machine(compile);
      // CALLER: dec edx; jz out; call CALLER; out: inc ebx; ret
      start(t, 'ffca 7405 e8f7ffffff ffc3 c3', RETURN, 200);
      t.write64(RSP, BigInt(CALLEE));
      t.writeHex(CALLEE, 'f4');
      t.runInPieces(5 * 200);
      assert.deepEqual([t.get('rbx'), t.get('rsp')], [200n, BigInt(RSP + 8)]);
      assert.equal(t.cpu.activity, 'halted');
    });

    it('takes returns that release more than their address', () => {
      const t = machine(compile);
      // lea rsp, [rsp-16]; call rax; inc ebx; dec edx; jnz; hlt
      start(t, '488d6424f0 ffd0 ffc3 ffca 75f3 f4', 'c21000');
      t.runInPieces(6 * 50, 6);
      clearCaches(t);
      t.runInPieces(6 * (ROUNDS - 50), 600);
      assert.deepEqual([t.get('rbx'), t.get('rsp')], [BigInt(ROUNDS), BigInt(RSP)]);
      assert.equal(isInJumpCache(t, CALLER + 7), Core.observer !== undefined);
    });

    it('is not misled where a page of the page tables came back from the disk before the call', () => {
      const t = new KvmMachine({ compile });
      const [caller, other, dataTable, codeTable] = [0x300000, 0x304000, 0x10000, 0xd000];
      t.write64(TABLES + 0x2000 + 3 * 8, BigInt(codeTable | 3));
      t.write64(TABLES + 0x2000 + 2 * 8, BigInt(dataTable | 3));
      t.write64(dataTable, BigInt(0x500000 | 3));
      // mov rax, [0x400000]; call rbp; inc ebx or dec ebx; hlt. The callee: mov [rdi], rcx; invlpg [rsi]; ret
      t.writeHex(caller, '488b042500004000 ffd5 ffc3 f4');
      t.writeHex(other, '488b042500004000 ffd5 ffcb f4');
      t.writeHex(0x20000, '48890f 0f013e c3');
      const go = (frame: number): bigint => {
        t.set({ rbx: 0, rbp: 0x20000, rdi: codeTable, rcx: frame | 3, rsi: CALLER, rsp: RSP });
        t.cpu.activity = 'active';
        t.cpu.rip = BigInt(CALLER);
        t.machine.run(7);
        return BigInt.asIntN(32, t.get('rbx'));
      };
      t.write64(codeTable, BigInt(caller | 3));
      t.machine.core.flushAllTranslations();
      assert.deepEqual([go(caller), go(caller)], [1n, 1n]);
      t.machine.guest!.swapOut!(dataTable);
      assert.equal(go(other), -1n);
    });

    it('is not misled once generations begin anew', () => {
      const t = machine(compile);
      start(t, ONCE, RETURN);
      t.runInPieces(20);
      const { core } = t.machine;
      const tag = t.cpu.get32(State.codeTag);
      t.writeHex(0x400000, 'ffd0 ffcb f4');
      t.write64(TABLES + 0x2018, 0x400087n);
      core.flushTranslations(t.cpu);
      let rounds = 0;
      do core.invalidateJumps();
      while (t.cpu.get32(State.codeTag) !== tag && ++rounds < 1 << 21);
      assert.equal(t.cpu.get32(State.codeTag), tag);
      t.set({ rbx: 0, rsp: RSP - 8 });
      t.cpu.activity = 'active';
      t.cpu.rip = BigInt(CALLEE);
      t.runInPieces(3);
      assert.equal(BigInt.asIntN(32, t.get('rbx')), -1n);
    });

    const changes: [what: string, callee: string, registers: Parameters<TestMachine['set']>[0], expected: bigint][] = [
      ['the return address that the callee has changed', '4883042402 c3', {}, 0n], // add qword [rsp], 2
      ['the address on the stack that the callee has gone to', '4889cc c3', { rcx: RSP + 0x100 }, 0n], // mov rsp, rcx
      ['code that the callee has changed', 'c607cb c3', { rdi: CALLER + 3 }, -1n], // mov byte [rdi], 0xcb: dec ebx
      ['where INVLPG says', '48890f 0f013e c3', { rdi: TABLES + 0x2018, rcx: 0x400087, rsi: CALLER }, -1n], // mov [rdi], rcx; invlpg [rsi]
      ['where a load of CR3 says', '48890f 0f22de c3', { rdi: TABLES + 0x2018, rcx: 0x400087, rsi: TABLES }, -1n], // mov [rdi], rcx; mov cr3, rsi
    ];
    for (const [what, callee, registers, expected] of changes) {
      it(`returns to ${what}`, () => {
        const t = machine(compile);
        // The fourth 2 MiB will be elsewhere: there, behind the call is dec ebx.
        t.writeHex(0x400000, 'ffd0 ffcb f4');
        t.write64(RSP + 0x100, BigInt(CALLER + 4));
        // The call is noted many times before.
        start(t, around('ffd0'), RETURN);
        t.runInPieces(5 * ROUNDS);
        start(t, ONCE, callee);
        t.set(registers);
        t.runInPieces(20);
        assert.equal(BigInt.asIntN(32, t.get('rbx')), expected);
        assert.equal(t.cpu.activity, 'halted');
      });
    }

    it('is not misled by a call in another address space', () => {
      const t = machine(compile);
      start(t, ONCE, RETURN);
      t.runInPieces(20);
      // The same addresses, other code.
      t.writeHex(0x400000, '9090 ffcb f4');
      t.write64(TABLES + 0x2018, 0x400087n);
      t.machine.core.flushTranslations(t.cpu);
      t.set({ rbx: 0, rsp: RSP - 8 });
      t.cpu.activity = 'active';
      t.cpu.rip = BigInt(CALLEE);
      t.runInPieces(20);
      assert.equal(BigInt.asIntN(32, t.get('rbx')), -1n);
    });

    it('a stop anywhere between call and return is where it was asked for', () => {
      const places = [CALLER, CALLEE, CALLER + 2, CALLER + 4, CALLER + 6];
      const t = machine(compile);
      start(t, around('ffd0'), RETURN);
      t.runInPieces(500);
      for (let i = 0, at = 0; i < 60; i++) {
        const n = 1 + ((i * 7) % 23);
        t.runInPieces(n, n);
        at = (at + n) % places.length;
        assert.equal(Number(t.cpu.rip), places[at]);
      }
    });
  });
}

describe('return cache of 16-bit code', () => {
  it('takes returns back to CALL r16', () => {
    const [caller, callee, rounds] = [0x4000, 0x5000, 100];
    const t = machine('off', 'real');
    t.writeHex(callee, RETURN);
    t.writeHex(caller, 'ffd0 43 4a 75fa f4'); // call ax; inc bx; dec dx; jnz; hlt
    t.set({ rax: callee, rbx: 0, rdx: rounds, rsp: RSP });
    t.cpu.rip = BigInt(caller);
    t.runInPieces(5, 5);
    clearCaches(t);
    t.runInPieces(5 * (rounds - 1), 5);
    assert.equal(t.get('rbx'), BigInt(rounds));
    assert.equal(isInJumpCache(t, caller + 2), Core.observer !== undefined);
  });
});
