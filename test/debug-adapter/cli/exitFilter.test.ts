import assert from 'node:assert';
import { compileExitFilter } from '../../../debug-adapter/cli/exitFilter';
import { exitRecord, ScriptedTarget } from './scriptedTarget';

const cpuid = exitRecord(0, { rip: 0x1000n });
const out = exitRecord(1, { name: 'IO_INSTRUCTION', reason: 30, rip: 0x2000n });
const violation = exitRecord(2, { name: 'EPT_VIOLATION', reason: 48, guestPhysical: 0xfee00020n });

const scripted = new ScriptedTarget([]);
scripted.fields = {
  port: (exit) => (exit === out ? 0x3f8n : undefined),
  gpa: (exit) => (exit === violation ? exit.guestPhysical : undefined),
};
const target = scripted.asTarget();
const matching = (text: string) =>
  [cpuid, out, violation].filter(compileExitFilter(text, target)).map((exit) => exit.seq);

describe('compileExitFilter', () => {
  const good: [string, number[]][] = [
    ['CPUID', [0]],
    ['CPUID || IO_INSTRUCTION && port == 0x3f8', [0, 1]],
    ['port == 0x3f8', [1]],
    ['port != 0x3f8', []],
    ['gpa >= 0xfee00000', [2]],
    ['gpa < 0xfee00000', []],
    ['reason == 30', [1]],
    ['$rip == 0x1000 || rip == 0x2000', [0, 1]],
    ['seq > 0', [1, 2]],
    ['true', [0, 1, 2]],
    ['port == 0x3f8 || gpa >= 0xfee00000', [1, 2]],
    ['port == 1 || CPUID', [0]],
    ['!(port == 0x3f8)', []],
    ['(gpa & 0xfff) == 0x20 && EPT_VIOLATION', [2]],
  ];
  for (const [text, expected] of good) it(text, () => assert.deepStrictEqual(matching(text), expected));

  const bad: [string, RegExp][] = [
    ['prot == 1', /--filter 'prot == 1': .*'prot'; did you mean port\?/],
    ['$rax == 1', /\$rax is not kept/],
    ['*(int *)rip', /memory is not kept/],
    ['port ==', /expected/],
    ['', /expected an expression/],
  ];
  for (const [text, error] of bad) {
    it(`refuses '${text}'`, () => {
      assert.throws(
        () => compileExitFilter(text, target),
        (e: Error) => e.name === 'UsageError' && error.test(e.message),
      );
    });
  }

  it('says which fields there are where an engine gives only those that all exits have', () => {
    const plain = { ...target, exitField: undefined };
    assert.throws(
      () => compileExitFilter('port == 1', plain),
      /no variable or symbol 'port'.*fields of exits are seq, .*gpa$/,
    );
    assert.deepStrictEqual([cpuid, out].filter(compileExitFilter('reason == 10', plain)), [cpuid]);
  });
});
