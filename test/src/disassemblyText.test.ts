import assert from 'node:assert';
import { disassemblyPage } from '../../src/disassemblyText';

describe('disassemblyPage', () => {
  it('marks the instruction and puts labels before it', () => {
    const instructions = [
      { address: '0x100000', instructionBytes: '31 c0', instruction: 'xor eax,eax', symbol: 'probe' },
      { address: '0x100002', instructionBytes: '0f a2', instruction: 'cpuid', symbol: 'probe+0x2' },
    ];
    const page = disassemblyPage('VM exit #7', [['Exit', 'CPUID']], instructions, 0x100002n);
    assert.deepEqual(page.text.split('\n'), [
      '; VM exit #7',
      ';   Exit  CPUID',
      '',
      'probe:',
      '   0x100000  31 c0  xor eax,eax',
      '=> 0x100002  0f a2  cpuid',
      '',
    ]);
    assert.equal(page.line, 5);
  });

  it('says so when nothing can be read, and takes odd addresses', () => {
    assert.match(disassemblyPage('x', [], [], 0n).text, /Nothing can be read/);
    assert.equal(disassemblyPage('x', [], [{ address: '??', instruction: '(bad)' }], 0n).line, 0);
  });
});
