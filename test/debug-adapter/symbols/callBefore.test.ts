import assert from 'node:assert/strict';
import { callsBefore } from '../../../debug-adapter/symbols/callBefore';

/** Encodings by GNU as, with what objdump prints for them; MAX_CALL bytes before the return address. */
const INDIRECT: [string, string][] = [
  ['call *%rax', '90 90 90 90 90 ff d0'],
  ['call *%r8', '90 90 90 90 41 ff d0'],
  ['call *(%rax)', '90 90 90 90 90 ff 10'],
  ['call *(%rsp)', '90 90 90 90 ff 14 24'],
  ['call *0x10(%rbx)', '90 90 90 90 ff 53 10'],
  ['call *0x10(%rsp)', '90 90 90 ff 54 24 10'],
  ['call *0x1000(%rbx)', '90 ff 93 00 10 00 00'],
  ['call *0x1000(%rsp,%rax,8)', 'ff 94 c4 00 10 00 00'],
  ['call *0x0(%rip)', '90 ff 15 00 00 00 00'],
  ['call *0xffffffff82001000(,%rax,8)', 'ff 14 c5 00 10 00 82'],
];
const NONE: [string, string][] = [
  ['jmp *%rax', '90 90 90 90 90 ff e0'],
  ['push (%rax)', '90 90 90 90 90 ff 30'],
  ['lcall *(%rax)', '90 90 90 90 90 ff 18'],
  ['call *%rax; nop', '90 90 90 90 ff d0 90'],
  ['ret', '90 90 90 90 90 90 c3'],
  ['nothing', ''],
];

const bytes = (text: string): Uint8Array =>
  Uint8Array.from(text.split(' ').filter(Boolean), (each) => parseInt(each, 16));

describe('calls by their last byte', () => {
  for (const [text, code] of INDIRECT) it(text, () => assert.deepEqual(callsBefore(bytes(code)), [{}]));
  for (const [text, code] of NONE) it(`no call: ${text}`, () => assert.deepEqual(callsBefore(bytes(code)), []));
  it('direct calls say where they lead', () => {
    assert.deepEqual(callsBefore(bytes('90 90 e8 f0 ff ff ff')), [{ displacement: -16 }]);
    assert.deepEqual(callsBefore(bytes('e8 00 01 00 00')), [{ displacement: 256 }]);
  });
  it('tells all readings of bytes with several', () => {
    assert.deepEqual(callsBefore(bytes('90 90 e8 48 8b ff d0')), [{ displacement: 0xd0ff8b48 | 0 }, {}]);
  });
});
