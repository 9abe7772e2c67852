import assert from 'node:assert/strict';
import { BtfTypes } from '../../../../debug-adapter/symbols/btf/btfTypes';
import type { Member, Type } from '../../../../debug-adapter/symbols/dwarf/types';
import { children, formatValue } from '../../../../debug-adapter/symbols/values';
import { BtfBuilder } from './builder';

function members(type: Type | undefined): Member[] {
  assert.ok(type?.kind === 'struct');
  return type.members();
}

const shape = (list: Member[]): unknown[] =>
  list.map(({ name, type, offset, bitOffset, bitSize }) => [name, type.name, offset, bitOffset, bitSize]);

describe('symbols: BTF', () => {
  it('reads integers, pointers, arrays, typedefs and qualifiers', () => {
    const b = new BtfBuilder();
    const int = b.int('int', 4, 1);
    const ulong = b.int('long unsigned int', 8);
    const char = b.int('char', 1, 1);
    b.int('_Bool', 1, 4);
    const uchar = b.int('unsigned char', 1);
    const u8 = b.type(8, 'u8', uchar);
    const constant = b.type(10, '', char);
    const text = b.pointer(constant);
    const fixed = b.type(10, '', text); // const char *const
    const row = b.array(u8, 16, ulong);
    const table = b.array(row, 3, ulong);
    const callback = b.pointer(
      b.prototype(int, [
        ['', text],
        ['', 0],
      ]),
    );
    const tagged = b.pointer(b.type(18, 'rcu', int));
    b.type(16, 'double', 8);
    const volatile = b.type(9, '', ulong);
    const restrict = b.type(11, '', b.pointer(0));
    const types = new BtfTypes('test', b.bytes());
    const nameOf = (id: number): unknown[] => [types.at(id).name, types.at(id).size];
    assert.deepEqual(nameOf(int), ['int', 4]);
    assert.deepEqual(nameOf(u8), ['u8', 1]);
    assert.deepEqual(nameOf(text), ['const char *', 8]);
    assert.deepEqual(nameOf(fixed), ['const char * const', 8]);
    assert.deepEqual(nameOf(table), ['u8 [3][16]', 48]);
    assert.deepEqual(nameOf(callback), ['int (*)(const char *, ...)', 8]);
    assert.deepEqual(nameOf(tagged), ['int *', 8]);
    assert.deepEqual(nameOf(volatile), ['volatile long unsigned int', 8]);
    assert.equal(types.at(restrict).size, 8);
    assert.deepEqual(nameOf(0), ['void', undefined]);
    assert.deepEqual(nameOf(9999), ['void', undefined]);
    assert.equal(types.findType('double')?.size, 8);
    assert.equal(types.findType('nothing'), undefined);
    // Values as C has them: signed, characters, truth values.
    assert.equal(formatValue(types.findType('int')!, Uint8Array.of(0xfe, 0xff, 0xff, 0xff)), '-2');
    assert.equal(formatValue(types.findType('u8')!, Uint8Array.of(65)), "65 'A'");
    assert.equal(formatValue(types.findType('_Bool')!, Uint8Array.of(1)), 'true');
    assert.deepEqual(types.warnings, []);
  });

  it('reads structs and unions: members, bit fields of both encodings, what is only declared', () => {
    const b = new BtfBuilder();
    const uint = b.int('unsigned int', 4);
    const nibble = b.int('unsigned int', 4, 0, 4, 2); // bits 2 to 5 of its four bytes
    const inner = b.aggregate(5, '', 4, [
      ['raw', uint, 0],
      ['half', b.int('short unsigned int', 2), 0],
    ]);
    const self = b.next + 1;
    const pointer = b.pointer(self);
    b.aggregate(4, 'page', 24, [
      ['flags', uint, 0],
      ['', inner, 32],
      ['next', pointer, 64],
      ['tail', uint, 128, 0],
    ]);
    b.aggregate(
      4,
      'flags',
      8,
      [
        ['a', uint, 0, 3],
        ['b', uint, 3, 5],
        ['whole', uint, 32, 0],
        ['z', uint, 8, 24],
      ],
      true,
    );
    b.aggregate(4, 'old', 8, [['f', nibble, 32]]);
    b.type(7, 'page', 0);
    const hidden = b.type(7, 'hidden', 0, [], 0, true);
    const types = new BtfTypes('test', b.bytes());
    const page = types.findType('page', 'struct')!;
    assert.equal(page.name, 'struct page');
    assert.deepEqual(shape(members(page)), [
      ['flags', 'unsigned int', 0, undefined, undefined],
      ['', 'union {...}', 4, undefined, undefined],
      ['next', 'struct page *', 8, undefined, undefined],
      ['tail', 'unsigned int', 16, undefined, undefined],
    ]);
    assert.deepEqual(shape(members(types.findType('flags'))), [
      ['a', 'unsigned int', 0, 0, 3],
      ['b', 'unsigned int', 0, 3, 5],
      ['whole', 'unsigned int', 4, undefined, undefined],
      ['z', 'unsigned int', 1, 0, 24],
    ]);
    // btf.rst, BTF_KIND_INT: the field begins at the member's offset plus the integer's.
    assert.deepEqual(shape(members(types.findType('old'))), [['f', 'unsigned int', 4, 2, 4]]);
    const declared = types.at(hidden - 1);
    assert.deepEqual([declared.name, declared.size, members(declared).length], ['struct page', 24, 4]);
    assert.deepEqual([types.at(hidden).name, types.at(hidden).size], ['union hidden', undefined]);
    assert.equal(types.findType('page', 'union'), undefined);
    assert.deepEqual(
      children(page, 0, 10)
        .map(({ name, offset }) => [name, offset])
        .slice(0, 1),
      [['flags', 0]],
    );
  });

  it('reads enumerations of 32 and 64 bits, functions, and passes over variables, sections and tags', () => {
    const b = new BtfBuilder();
    const int = b.int('int', 4, 1);
    const states = b.enumeration(
      'state',
      [
        ['RUNNING', 0],
        ['DEAD', 0xffffffff],
      ],
      true,
    );
    b.enumeration('bits', [['HIGH', 0x80000000]]);
    b.type(19, 'wide', 8, [b.string('TOP'), 1, 0x80000000, b.string('ONE'), 1, 0], 2);
    const prototype = b.prototype(int, [
      ['task', b.pointer(b.aggregate(4, 'task', 8, [['pid', int, 0]]))],
      ['', 0],
    ]);
    b.type(12, 'wake', prototype, [], 1);
    b.type(12, 'twice', prototype);
    b.type(12, 'twice', b.prototype(0, []));
    const variable = b.type(14, 'current', int, [1]);
    b.type(15, '.data', 4, [variable, 0, 4], 1);
    b.type(17, 'note', variable, [0xffffffff]);
    const last = b.type(8, 'last', int);
    const types = new BtfTypes('test', b.bytes());
    const state = types.at(states);
    assert.ok(state.kind === 'enum' && state.signed);
    assert.deepEqual(state.enumerators(), [
      { name: 'RUNNING', value: 0n },
      { name: 'DEAD', value: -1n },
    ]);
    assert.equal(types.findEnumerator('DEAD'), -1n);
    assert.equal(types.findEnumerator('HIGH'), 0x80000000n);
    assert.equal(types.findEnumerator('TOP'), 0x8000000000000001n);
    assert.equal(types.findEnumerator('wake'), undefined);
    const wake = types.functionPrototype('wake')!;
    assert.deepEqual(
      [wake.result.name, wake.variadic, wake.parameters.map(({ name, type }) => `${type.name} ${name}`)],
      ['int', true, ['struct task * task']],
    );
    assert.equal(types.functionPrototype('twice'), undefined, 'two functions of one name');
    assert.equal(types.functionPrototype('state'), undefined);
    assert.equal(types.findType('last'), types.at(last));
    assert.equal(types.count, last);
  });

  it('finds types by name among thousands', () => {
    const b = new BtfBuilder();
    for (let i = 0; i < 5000; i++) b.aggregate(4, `type_${i}`, i + 1, []);
    const types = new BtfTypes('test', b.bytes());
    let steps = 0;
    for (const work = types.prepare(); !work.next().done;) steps++;
    assert.ok(steps >= 4, 'the index is made in several steps');
    assert.ok(types.ready);
    for (const i of [0, 1, 2500, 4999]) assert.equal(types.findType(`type_${i}`, 'struct')?.size, i + 1);
  });

  describe('malformed', () => {
    const good = (): Uint8Array => {
      const b = new BtfBuilder();
      b.int('int', 4, 1);
      b.aggregate(4, 'task', 4, [['pid', 1, 0]]);
      return b.bytes();
    };
    const damaged: [what: string, change: (bytes: Uint8Array) => Uint8Array, expected: RegExp, types: number][] = [
      ['nothing', () => new Uint8Array(0), /header of 24 bytes expected, there are 0/, 0],
      ['big-endian', (d) => (([d[0], d[1]] = [0xeb, 0x9f]), d), /magic 0x9feb at offset 0x0, expected 0xeb9f/, 0],
      ['version 2', (d) => ((d[2] = 2), d), /version 2 at offset 0x2, expected 1/, 0],
      ['a short header', (d) => ((d[4] = 8), d), /header length 0x8 at offset 0x4/, 0],
      ['types outside', (d) => ((d[15] = 0x7f), d), /types at 0x18 \+ 0x7f\w+ lie outside the data/, 0],
      ['strings outside', (d) => d.subarray(0, d.length - 1), /strings at .* lie outside the data/, 0],
      ['kind 31', (d) => ((d[24 + 16 + 7] = 31), d), /type 2 at offset 0x28: kind 31, expected 1 to 19/, 1],
      [
        '65535 members',
        (d) => ((d[24 + 16 + 4] = d[24 + 16 + 5] = 0xff), d),
        /type 2 at offset 0x28: its 65535 parts/,
        1,
      ],
    ];
    for (const [what, change, expected, count] of damaged) {
      it(`${what}: says so, and keeps the types before it`, () => {
        const types = new BtfTypes('vmlinux', change(good()));
        assert.equal(types.count, count);
        assert.equal(types.findType('int')?.size, count > 0 ? 4 : undefined);
        assert.equal(types.findType('task'), undefined);
        assert.equal(types.warnings.length, 1);
        assert.match(types.warnings[0]!, expected);
        assert.match(types.warnings[0]!, /^vmlinux: BTF: /);
      });
    }

    it('types that contain themselves have no size and an end', () => {
      const b = new BtfBuilder();
      b.type(8, 'ouroboros', 2);
      b.type(8, 'tail', 1);
      b.type(18, 'tag', 3);
      const loop = b.next;
      b.array(loop, 10, 0);
      const nested = b.next;
      b.aggregate(4, 'nested', 8, [
        ['self', nested, 0],
        ['name', 9999, 0x7ffffff8],
      ]);
      b.pointer(b.next);
      const proto = b.next;
      b.prototype(proto, [['f', proto]]);
      const types = new BtfTypes('test', b.bytes());
      for (let id = 0; id <= types.count; id++) {
        const type = types.at(id);
        assert.equal(typeof type.name, 'string');
        assert.ok(type.name.length < 100_000);
        void type.size;
        formatValue(type, new Uint8Array(64));
        children(type, 0, 100);
      }
      assert.equal(types.findType('ouroboros')!.size, undefined);
      assert.equal(types.at(loop).size, undefined);
      const self = members(types.at(nested))[0]!.type;
      assert.equal(self, types.at(nested));
    });

    it('a chain of typedefs longer than the stack is deep does not throw', () => {
      const b = new BtfBuilder();
      for (let i = 0; i < 50_000; i++) b.type(8, i === 0 ? 'first' : '', i + 2);
      const types = new BtfTypes('test', b.bytes());
      const first = types.findType('first')!;
      assert.equal(first.size, undefined);
      assert.equal(formatValue(first, new Uint8Array(8)), 'void');
    });
  });
});
