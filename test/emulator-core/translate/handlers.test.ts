/** The instruction table as a whole: every row does something, every handler is valid WebAssembly, budgets add up. */
import assert from 'node:assert';
import { Uop } from '../../../emulator-core/cpu/layout';
import { ASSISTS } from '../../../emulator-core/cpu/assists';
import { VARIANTS } from '../../../emulator-core/translate/forms';
import { Pseudo } from '../../../emulator-core/translate/abi';
import { generateHandlers } from '../../../emulator-core/translate/handlers';
import { CODES } from '../../../emulator-core/x86/codes';
import { INSTRUCTIONS } from '../../../emulator-core/x86/instructions';
import { SpecialCode } from '../../../emulator-core/x86/decode';
import { TestMachine } from '../testMachine';

const module = generateHandlers();

describe('the instruction table', () => {
  it('each row has semantics or an assist, and a manual title', () => {
    for (const row of INSTRUCTIONS) {
      assert.ok(row.semantics || row.assist, row.mnemonic);
      assert.ok(row.manual.length > 3, row.mnemonic);
    }
  });

  it('each row covers at least one encoding', () => {
    const used = new Set(CODES.filter((info) => info).map((info) => info!.rowIndex));
    const idle = INSTRUCTIONS.filter((_, i) => !used.has(i)).map((row) => `${row.mnemonic} ${row.operands ?? ''}`);
    assert.deepStrictEqual(idle, []);
  });

  it('each assist exists', () => {
    // The Machine constructor checks the VMM's own as well: an unknown name throws.
    assert.doesNotThrow(() => new TestMachine());
    assert.ok(Object.keys(ASSISTS).length > 20);
  });

  it('each encoding has a handler in some variant', () => {
    for (const info of CODES) {
      if (!info) continue;
      const table = module.handlers[info.code];
      assert.ok(table && table.length === VARIANTS, info.name);
      assert.ok(table.some((index) => index >= 0), info.name);
      for (const index of table) assert.ok(index >= -1 && index < module.tableSize, info.name);
      if (!info.row.semantics) assert.ok(table.every((index) => index === Pseudo.assist), info.name);
    }
  }); // prettier-ignore

  it('the module validates', () => assert.ok(WebAssembly.validate(module.bytes)));

  it('is the same each time it is made', () => {
    const again = generateHandlers();
    assert.deepStrictEqual(again.bytes, module.bytes);
    assert.deepStrictEqual(again.handlers, module.handlers);
  });
});

describe('blocks', () => {
  it('count down to their end: left of a micro-op is one more than that of the next', () => {
    const t = new TestMachine().enter('64');
    // Straight code, a branch, REP, a call, an assist in the middle, more than a block's worth of NOPs.
    const code = '31c0 ffc0 0fa2 31c9 7400 f3aa 50 58 e800000000 58' + '90'.repeat(150) + 'ebfe';
    t.run(0x100000, code, { rdi: 0x200000, rsp: 0x9000 }, 400);
    const { i32, u16, uopBase } = t.machine.memory;
    let seen = 0;
    for (let at = uopBase; u16[(at + Uop.code) >> 1] || i32[(at + Uop.handler) >> 2]; at += Uop.bytes) {
      const code = u16[(at + Uop.code) >> 1];
      const left = i32[(at + Uop.left) >> 2];
      if (code === 0) {
        assert.strictEqual(left, 0, 'a micro-op that is no instruction is not charged');
        continue;
      }
      const next = at + Uop.bytes;
      const row = CODES[code]?.row;
      const ends = row?.endsBlock || row?.repeat || u16[(next + Uop.code) >> 1] === 0;
      assert.ok(code === SpecialCode.crossPage || row, `code ${code}`);
      assert.strictEqual(left, ends ? 1 : i32[(next + Uop.left) >> 2] + 1);
      seen++;
    }
    assert.ok(seen > 60);
  });
});
