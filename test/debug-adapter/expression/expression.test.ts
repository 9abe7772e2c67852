import assert from 'node:assert/strict';
import { evaluateOver, type Access } from '../../../debug-adapter/expression/access';
import { closest, compile, type Names } from '../../../debug-adapter/expression/compile';
import { RegisterNames } from '../../../debug-adapter/expression/registers';

const registers = new RegisterNames([
  { name: 'rax', group: 'Registers', width: 64, writable: true },
  { name: 'rsp', group: 'Registers', width: 64, writable: true },
  { name: 'xmm0', group: 'FPU & SIMD', width: 128, writable: true },
  { name: 'st0', group: 'FPU & SIMD', width: 80, writable: true, parse: () => undefined },
  { name: 'cs', group: 'Segments', width: 16, writable: true },
  { name: 'cs.base', group: 'Segments', width: 64, writable: true },
  { name: 'IA32_EFER', group: 'MSRs', width: 64, writable: true },
]);
const names: Names = {
  registers,
  pointerSize: 8,
  symbol: (name) => (name === 'main' ? 0x100000n : undefined),
  constant: (name) => (name === 'IA32_LSTAR' ? 0xc0000082n : undefined),
  isField: (name) => name === 'port' || name === 'write' || name === 'msr',
  suggest: (name) => closest(name, ['main', 'port']),
};
const values: Record<string, bigint> = {
  rax: 0xffffffff_80001234n,
  rsp: 0x1000n,
  xmm0: (1n << 128n) - 1n,
  st0: 0n,
  cs: 8n,
  'cs.base': 0xf0000n,
  IA32_EFER: 0x500n,
};
// Every byte of memory is the low byte of its address; physical memory has 0x80 added; nothing above 0xffff is mapped.
const access: Access = {
  icount: 42,
  register: (name) => values[name],
  memory: (space, address, size) => {
    if (address > 0xffffn) return undefined;
    let value = 0n;
    for (let i = size - 1; i >= 0; i--)
      value = (value << 8n) | ((address + BigInt(i) + (space === 'physical' ? 0x80n : 0n)) & 0xffn);
    return value;
  },
  field: (name) => ({ port: 0x3f8n, write: 1n })[name],
};
const evaluate = (text: string): bigint => compile(text, names).value(access);

/** Expression, value in C on a machine with 64-bit long. */
const CASES: [string, bigint][] = [
  ['1 + 2 * 3', 7n],
  ['(1 + 2) * 3', 9n],
  ['10 - 4 - 3', 3n],
  ['7 / 2', 3n],
  ['-7 / 2', -3n],
  ['-7 % 4', -3n],
  ['1 << 4 | 3', 19n],
  ['0x0f & 0x3c ^ 1', 13n],
  ['~0', -1n],
  ['!5', 0n],
  ['!0', 1n],
  ['2 < 3 == 1', 1n],
  ['1 && 0 || 1', 1n],
  ['0 ? 5 : 6', 6n],
  ["'A'", 65n],
  ['0b101', 5n],
  ['0o17', 15n],
  ['017', 15n],
  ['1_000', 1000n],
  ['0xffffffffffffffff + 1', 0n],
  ['$rax', 0xffffffff_80001234n],
  ['$eax', 0x80001234n],
  ['$ax', 0x1234n],
  ['$al', 0x34n],
  ['$ah', 0x12n],
  ['$RAX == $rax', 1n],
  ['$cs.base + $cs', 0xf0008n],
  ['$IA32_EFER & 0x100', 0x100n],
  ['$icount', 42n],
  ['$rax == -0x7fffedcc', 1n], // the usual arithmetic conversions: the negative number becomes unsigned
  ['$eax > 0', 1n],
  ['$xmm0 == 0', 0n],
  ['$xmm0 != 0', 1n],
  ['$xmm0 == -1', 1n],
  ['$xmm0 == 0xffffffffffffffffffffffffffffffff', 1n],
  ['0xffffffffffffffffffffffffffffffff > $xmm0', 0n],
  ['$xmm0 == $xmm0 && $xmm0 != $rax', 1n],
  ['(int32_t)$eax < 0', 1n],
  ['(uint8_t)0x1ff', 0xffn],
  ['(int8_t)0xff', -1n],
  ['(unsigned char)-1', 255n],
  ['(bool)7', 1n],
  ['*(uint8_t *)0x1234', 0x34n],
  ['*(uint32_t*)$rsp', 0x03020100n],
  ['*$rsp', 0x0706050403020100n],
  ['*(int16_t *)0xfe', -2n],
  ['((uint16_t *)0x10)[2]', 0x1514n],
  ['*((uint32_t *)0x10 + 1)', 0x17161514n],
  ['(uint32_t *)0x20 - (uint32_t *)0x10', 4n],
  ['*(uint8_t *)phys:0x10', 0x90n],
  ['*(uint8_t *)(phys:0x10 + 1)', 0x91n],
  ['&*(uint32_t *)0x44', 0x44n],
  ['sizeof(uint32_t)', 4n],
  ['sizeof(unsigned long long)', 8n],
  ['sizeof(char *)', 8n],
  ['main + 4', 0x100004n],
  ['&main', 0x100000n],
  ['port == 0x3f8 && write', 1n],
  ['port == IA32_LSTAR', 0n],
  ['0 && *(int *)0x100000', 0n], // short circuit: the memory is not read
];

const ERRORS: [string, RegExp][] = [
  ['', /^column 1: expected an expression/],
  ['1 +', /^column 4: expected a number, name, \$register or '\(', got the end/],
  ['(1', /^column 3: expected '\)' to close '\('/],
  ['1 2', /^column 3: expected an operator or the end, got 2/],
  ['12zz', /^column 1: '12zz' is no number/],
  ['0x', /'0x' is no number|expected digits/],
  ['0x11111111111111111', /does not fit in 64 bits/],
  ['1 + 0x11111111111111111', /^column 5: number does not fit in 64 bits/],
  ['1.5', /^column 1: 1\.5 is a floating-point number; expressions compute with whole ones/],
  ['2 * 1e3', /^column 5: 1e3 is a floating-point number/],
  ['$xmm0 + 1', /^column 1: a value of type 'uint128_t' is no number/],
  ['$st0 == 0', /^column 1: \$st0 holds a floating-point value; comparing these is not offered/],
  ['$rxa', /^column 1: no register '\$rxa'; did you mean \$rax\?/],
  ['mian', /^column 1: no variable or symbol 'mian'; did you mean main\?/],
  ['rax', /did you mean \$rax\?/],
  ['1 / 0', /^column 3: division by zero/],
  ['*(int *)0x100000', /can't read 4 bytes at 0x100000/],
  ['*(void *)0', /can't dereference 'void \*'/],
  ['(struct none *)0', /no type 'struct none'/],
  ['f(1)', /can't be called/],
  ['1 = 2', /left side of '='/],
  ['1 @ 2', /^column 3: unexpected '@'/],
  ['msr', /this stop has no field 'msr'/],
  ['1.x', /needs a struct or union/],
  ['('.repeat(5000), /nested too deeply/],
  ['1'.repeat(20_000), /longer than 10000 characters/],
];

describe('expressions', () => {
  for (const [text, expected] of CASES) it(`${text} is ${expected}`, () => assert.equal(evaluate(text), expected));
  for (const [text, expected] of ERRORS) {
    it(`refuses ${JSON.stringify(text.slice(0, 30))}`, () =>
      assert.throws(() => evaluate(text), { message: expected }));
  }

  it('evaluates the same over an asynchronous source, asking for each value once', async () => {
    const asked: string[] = [];
    const source = {
      register: async (name: string) => {
        asked.push(name);
        return values[name];
      },
      read: async (_space: string, address: bigint, length: number) => {
        asked.push(`${address}`);
        return Uint8Array.from({ length }, (_, i) => Number(address) + i);
      },
      icount: () => 1,
    };
    const compiled = compile('*(uint8_t *)($rsp + 2) + $rsp + *(uint8_t *)($rsp + 2)', names);
    assert.equal(await evaluateOver(source, compiled.value), 0x1004n);
    assert.deepEqual(asked, ['rsp', '4098']);
  });

  it('completes register names', () => {
    assert.deepEqual(registers.complete('cs'), ['cs', 'cs.base']);
    assert.ok(registers.complete('E').includes('eax'));
  });
});
