import assert from 'node:assert';
import { TerminalInput } from '../../../debug-adapter/cli/terminalInput';

function typed(...pieces: string[]): { sent: string; quit: number } {
  const result = { sent: '', quit: 0 };
  const input = new TerminalInput(
    (data) => (result.sent += Buffer.from(data).toString('latin1')),
    () => result.quit++,
  );
  for (const piece of pieces) input.type(Buffer.from(piece, 'latin1'));
  return result;
}

describe('TerminalInput', () => {
  it('passes keys on, Ctrl-C too', () => assert.deepStrictEqual(typed('ls\r', '\x03'), { sent: 'ls\r\x03', quit: 0 }));
  it('quits at Ctrl-A x, also in two pieces, and sends what came before', () => {
    assert.deepStrictEqual(typed('a\x01xb'), { sent: 'a', quit: 1 });
    assert.deepStrictEqual(typed('a\x01', 'X'), { sent: 'a', quit: 1 });
  });
  it('sends one Ctrl-A for two', () => assert.deepStrictEqual(typed('\x01\x01x'), { sent: '\x01x', quit: 0 }));
  it('swallows other escapes', () => assert.deepStrictEqual(typed('\x01cd'), { sent: 'd', quit: 0 }));
});
