import assert from 'node:assert/strict';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr0, Cr4 } from '../../../emulator-core/cpu/vcpu';
import { TestMachine } from '../testMachine';

const CODE = 0x10000;

describe('compiled regions', () => {
  it('begin at no instruction that only the interpreter can do, also where the code behind it could be compiled', () => {
    const t = new TestMachine({ compile: 'always', features: ['+aes'] }).enter('64');
    t.cpu.set64(State.cr0, BigInt((t.cpu.cr0 | Cr0.MP) >>> 0));
    t.cpu.set64(State.cr4, BigInt(t.cpu.cr4 | Cr4.OSFXSR | Cr4.OSXMMEXCPT));
    t.cpu.modeChanged();
    // again: aesdeclast xmm1, xmm1; jz over; inc rbx; over: inc rcx; jmp again
    t.run(CODE, '660f38dfc9 7403 48ffc3 48ffc1 ebf1', { rbx: 0, rcx: 0 }, 5 * 100);
    assert.equal(t.machine.core.retired, 500);
    assert.deepEqual([t.get('rbx'), t.get('rcx'), t.cpu.rip], [100n, 100n, BigInt(CODE)]);
    assert.ok(t.machine.core.compiledInstructions >= 300);
  });

  it('do not go on behind an instruction that lies in two pages, where micro-ops of former code may be', () => {
    const t = new TestMachine({ compile: 'always' }).enter('64');
    // Micro-ops that all of them increment.
    t.run(CODE, '48ffc3'.repeat(60), { rbx: 0 }, 60);
    t.machine.core.code.flush();
    // mov eax, 1 from one page into the next; dec rcx three times; jmp to itself
    t.run(0x10ffe, 'b801000000 48ffc9 48ffc9 48ffc9 ebfe', { rcx: 10 });
    assert.equal(t.get('rax'), 1n);
    for (const left of [9n, 8n, 7n]) {
      t.machine.run(1);
      assert.equal(t.get('rcx'), left);
    }
  });
});
