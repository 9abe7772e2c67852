import assert from 'node:assert/strict';
import { BtfTypes } from '../../../../debug-adapter/symbols/btf/btfTypes';
import { entryArguments } from '../../../../debug-adapter/symbols/entryArguments';
import { FrameContext, readLocation } from '../../../../debug-adapter/symbols/location';
import { SymbolStore } from '../../../../debug-adapter/symbols/symbolStore';
import { BtfBuilder } from './builder';

/** DWARF numbers of rdi, rsi, rdx, rcx, r8, r9: System V ABI, AMD64 supplement, Figure 3.36. */
const [RDI, RSI, RDX, RCX, R8, R9, RSP] = [5, 4, 1, 2, 8, 9, 7] as const;

/** An ELF64 file of the sections given; the last two are added: none is loaded. gABI, "ELF Header", "Sections". */
function elf(
  sections: { name: string; type: number; data: Uint8Array; link?: number; entrySize?: number }[],
): Uint8Array {
  const all = [
    { name: '', type: 0, data: new Uint8Array(0) },
    ...sections,
    { name: '.shstrtab', type: 3, data: new Uint8Array(0) },
  ];
  const names = all.map(({ name }) => name).join('\0') + '\0';
  all[all.length - 1]!.data = new TextEncoder().encode(names);
  const size = 64 + all.reduce((sum, { data }) => sum + data.length, 0);
  const bytes = new Uint8Array(size + all.length * 64);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 62, true);
  view.setBigUint64(40, BigInt(size), true);
  [64, 0, 0, 64, all.length, all.length - 1].forEach((value, i) => view.setUint16(52 + i * 2, value, true));
  let offset = 64;
  let name = 0;
  all.forEach((section, i) => {
    const { type, data } = section;
    const { link = 0, entrySize = 0 } = section as { link?: number; entrySize?: number };
    const at = size + i * 64;
    bytes.set(data, offset);
    view.setUint32(at, name, true);
    view.setUint32(at + 4, type, true);
    view.setBigUint64(at + 24, BigInt(offset), true);
    view.setBigUint64(at + 32, BigInt(data.length), true);
    view.setUint32(at + 40, link, true);
    view.setBigUint64(at + 56, BigInt(entrySize), true);
    offset += data.length;
    name += section.name.length + 1;
  });
  return bytes;
}

/** A stripped kernel's file: symbols of functions of 16 bytes each, and BTF. */
function kernel(btf: Uint8Array, functions: [name: string, address: bigint][]): Uint8Array {
  const symbols = new DataView(new ArrayBuffer(24 * (functions.length + 1)));
  let strings = '\0';
  functions.forEach(([name, address], i) => {
    const at = 24 * (i + 1);
    symbols.setUint32(at, strings.length, true);
    symbols.setUint8(at + 4, 0x12); // STB_GLOBAL, STT_FUNC
    symbols.setUint16(at + 6, 1, true);
    symbols.setBigUint64(at + 8, address, true);
    symbols.setBigUint64(at + 16, 16n, true);
    strings += name + '\0';
  });
  return elf([
    { name: '.BTF', type: 1, data: btf },
    { name: '.symtab', type: 2, data: new Uint8Array(symbols.buffer), link: 3, entrySize: 24 },
    { name: '.strtab', type: 3, data: new TextEncoder().encode(strings) },
  ]);
}

describe('symbols: arguments at the entry of a function', () => {
  const base = 0xffffffff81000000n;

  it('knows them at the first instruction of a function of a file with BTF alone, and nowhere else', async () => {
    const b = new BtfBuilder();
    const int = b.int('int', 4, 1);
    const task = b.pointer(
      b.aggregate(4, 'task', 16, [
        ['pid', int, 0],
        ['flags', b.int('long unsigned int', 8), 64],
      ]),
    );
    b.enumeration('state', [['DEAD', 7]]);
    b.type(
      12,
      'wake',
      b.prototype(int, [
        ['task', task],
        ['count', int],
      ]),
    );
    b.type(12, 'twin', b.prototype(int, [['x', int]]));
    const store = new SymbolStore();
    store.addFile('vmlinux', kernel(b.bytes(), [['wake', base], ['twin', base + 16n], ['twin', base + 32n], ['other', base + 48n]])); // prettier-ignore
    const names = (pc: bigint): string[] =>
      store.scopeVariables(pc).arguments.map(({ name, type }) => `${type.name} ${name}`);
    assert.deepEqual(names(base), ['struct task * task', 'int count']);
    assert.deepEqual(names(base + 1n), []);
    assert.deepEqual(names(base + 16n), [], 'two functions of one name');
    assert.deepEqual(names(base + 48n), [], 'no prototype');
    store.files[0]!.setOffset(0x1000000n);
    assert.deepEqual(names(base), []);
    assert.deepEqual(names(base + 0x1000000n), ['struct task * task', 'int count']);

    const memory = Uint8Array.of(42, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0);
    const context: FrameContext = {
      pc: base + 0x1000000n,
      register: (number) =>
        Promise.resolve(({ [RDI]: 0x5000n, [RSI]: 0xffffffffffffff85n } as Record<number, bigint>)[number]),
      read: (address, length) => Promise.resolve(address === 0x5000n ? memory.subarray(0, length) : new Uint8Array(0)),
    };
    const [first, second] = store.scopeVariables(context.pc).arguments;
    const value = await store.readVariable(first!, context);
    assert.equal(await store.describeValue(value, false, context), '0x0000000000005000');
    const parts = await store.readChildren(value, context);
    assert.deepEqual(
      parts.map(({ name }) => name),
      ['pid', 'flags'],
    );
    assert.equal(await store.describeValue(await store.readVariable(second!, context), false, context), '-123');
    assert.equal(store.findType('struct task')?.size, 16);
    assert.equal(store.findType('union task'), undefined);
    assert.equal(store.findEnumerator('DEAD'), 7n);
    assert.deepEqual(store.warnings, []);
  });

  it('says what is wrong with the BTF of a file', () => {
    const store = new SymbolStore();
    store.addFile('vmlinux', kernel(Uint8Array.of(1, 2, 3), [['wake', base]]));
    assert.deepEqual(store.scopeVariables(base).arguments, []);
    assert.match(store.warnings.join(), /vmlinux: section .BTF: BTF: a header of 24 bytes expected, there are 3/);
  });

  it('finds them where the System V ABI puts them', async () => {
    const b = new BtfBuilder();
    const long = b.int('long int', 8, 1);
    const pair = b.aggregate(4, 'pair', 16, [
      ['a', long, 0],
      ['b', long, 64],
    ]);
    const large = b.aggregate(4, 'large', 24, [
      ['a', long, 0],
      ['b', long, 64],
      ['c', long, 128],
    ]);
    const double = b.type(16, 'double', 8);
    const parameters: [string, number][] = [['one', long], ['both', pair], ['big', large], ['real', double], ['four', long], ['five', pair], ['late', pair], ['six', long], ['seven', long]]; // prettier-ignore
    b.type(12, 'f', b.prototype(long, parameters));
    b.type(12, 'g', b.prototype(large, [['one', long]]));
    const types = new BtfTypes('test', b.bytes());
    const registers: Record<number, bigint> = {
      [RDI]: 1n,
      [RSI]: 2n,
      [RDX]: 3n,
      [RCX]: 4n,
      [R8]: 5n,
      [R9]: 6n,
      [RSP]: 0x100n,
    };
    const context: FrameContext = {
      pc: 0n,
      register: (number) => Promise.resolve(registers[number]),
      // Every byte of the stack is the low byte of its address.
      read: (address, length) => Promise.resolve(Uint8Array.from({ length }, (_, i) => Number(address & 0xffn) + i)),
    };
    const where = async (name: string): Promise<unknown[]> => {
      const found: unknown[] = [];
      for (const argument of entryArguments(types.functionPrototype(name)!)) {
        const location = await argument.locate(context);
        const bytes = await readLocation(location, argument.type.size!, context);
        found.push([argument.name, location.kind, bytes && [bytes[0], bytes.length > 8 ? bytes[8] : undefined]]);
      }
      return found;
    };
    assert.deepEqual(await where('f'), [
      ['one', 'register', [1, undefined]],
      ['both', 'pieces', [2, 3]],
      ['big', 'memory', [0x08, 0x10]], // of class MEMORY: right above the return address
      ['real', 'optimized out', undefined],
      ['four', 'register', [4, undefined]],
      ['five', 'pieces', [5, 6]],
      ['late', 'memory', [0x20, 0x28]],
      ['six', 'memory', [0x30, undefined]],
      ['seven', 'memory', [0x38, undefined]],
    ]);
    // The address of a large result comes in rdi.
    assert.deepEqual(await where('g'), [['one', 'register', [2, undefined]]]);
  });
});
