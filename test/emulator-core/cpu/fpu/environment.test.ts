/** The environment image, and FSTPNCE. SDM Vol. 2, FLDENV, FSTENV; FSTPNCE is undocumented, and does as FSTP does. */
import assert from 'node:assert';
import { State } from '../../../../emulator-core/cpu/layout';
import { TestMachine } from '../../testMachine';

const CODE = 0x100000;
const DATA = 0x200000;

describe('x87 environment', () => {
  it('FLDENV brings back what FNSTENV stored', () => {
    const t = new TestMachine().enter('64');
    // fninit; fld1; fldz; fnstenv [rbx]; fninit; fldenv [rbx]; fnstsw ax
    t.run(CODE, 'dbe3 d9e8 d9ee d933 dbe3 d923 dfe0', { rbx: DATA }, 7);
    assert.strictEqual(t.vector, undefined);
    // TOP is 6; FNSTENV masks all exceptions.
    assert.strictEqual(t.get('rax') & 0xffffn, 0x3000n);
    assert.strictEqual(t.cpu.get32(State.fcw), 0x37f);
    // R6 holds zero (1), R7 is valid (0), the rest is empty (3).
    assert.strictEqual(t.read16(DATA + 8), 0x1fff);
    assert.strictEqual(t.cpu.get32(State.ftw) & 0xffff, 0x1fff);
  });

  it('FSTPNCE stores and pops', () => {
    // fninit; fldz; fld1; fstpnce st1; fistp dword [rbx]; fnstsw ax
    const t = new TestMachine().enter('64').run(CODE, 'dbe3 d9ee d9e8 d9d9 db1b dfe0', { rbx: DATA }, 6);
    assert.strictEqual(t.vector, undefined);
    assert.strictEqual(t.read32(DATA), 1);
    assert.strictEqual(t.get('rax') & 0xffffn, 0n);
  });
});
