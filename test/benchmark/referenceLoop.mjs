/**
 * The peer of the interpreter benchmark: an interpreter in WebAssembly for exactly the instructions of loopGuest.mjs, made
 * by hand. Micro-ops with operand addresses, handlers chained by tail calls, memory through a soft TLB, lazy flags, a
 * budget at the jump; no faults, no exits, no other instruction. So it shows what the machine at hand allows.
 */

const unsigned = (value) => {
  const bytes = [];
  do {
    bytes.push((value & 127) | (value > 127 ? 128 : 0));
    value >>>= 7;
  } while (value);
  return bytes;
};
const signed = (value) => {
  const bytes = [];
  for (let rest = BigInt(value); ;) {
    const low = Number(rest & 127n);
    rest >>= 7n;
    if ((rest === 0n && low < 64) || (rest === -1n && low >= 64)) return [...bytes, low];
    bytes.push(low | 128);
  }
};

// Instructions of WebAssembly, by their names in the specification.
const get = (local) => [0x20, local];
const set = (local) => [0x21, local];
const i32const = (value) => [0x41, ...signed(value)];
const i64const = (value) => [0x42, ...signed(value)];
const i32load = (offset = 0) => [0x28, 2, ...unsigned(offset)];
const i64load = (offset = 0) => [0x29, 3, ...unsigned(offset)];
const i32store = (offset = 0) => [0x36, 2, ...unsigned(offset)];
const i64store = (offset = 0) => [0x37, 3, ...unsigned(offset)];
const [i32add, i32and, i32shl] = [[0x6a], [0x71], [0x74]];
const [i64add, i64sub, i64and, i64xor, i64shl, i64shrU] = [[0x7c], [0x7d], [0x83], [0x85], [0x86], [0x88]];
const [i64ne, i64eqz, i64leS, i32wrap] = [[0x52], [0x50], [0x57], [0xa7]];
const [ifThen, end, ret, unreachable] = [[0x04, 0x40], [0x0b], [0x0f], [0x00]];
const tailCall = [0x13, 0, 0]; // return_call_indirect, type 0, table 0

// A micro-op: handler, address of the destination register, of the base, of the index, an immediate.
const size = 24;
const [handlerAt, destinationAt, baseAt, indexAt, immediateAt] = [0, 4, 8, 12, 16];
// Linear memory.
const [flagsAt, resultAt, budgetAt, programAt, tlbAt, ramAt] = [128, 152, 160, 4096, 65536, 0x200000];
const tlbEntries = 4096;
// Locals: the micro-op is parameter 0.
const [op, a, b, r, entry] = [0, 1, 2, 3, 4];

const address = (field) => [...get(op), ...i32load(field)];
const register = (field) => [...address(field), ...i64load()];
const immediate = [...get(op), ...i64load(immediateAt)];
const next = [...get(op), ...i32const(size), ...i32add, ...get(op), ...i32load(size + handlerAt), ...tailCall];

const saveFlags = (kind) => [
  ...[...i32const(0), ...i32const(kind), ...i32store(flagsAt)],
  ...[...i32const(0), ...get(a), ...i64store(136)],
  ...[...i32const(0), ...get(b), ...i64store(144)],
  ...[...i32const(0), ...get(r), ...i64store(resultAt)],
];

/** destination = destination OP second; flags. */
const arithmetic = (kind, second, operation) => [
  ...[...register(destinationAt), ...set(a), ...second, ...set(b)],
  ...[...get(a), ...get(b), ...operation, ...set(r)],
  ...[...address(destinationAt), ...get(r), ...i64store()],
  ...saveFlags(kind),
  ...next,
];

/** Leaves the linear-memory address of base + index * 8 + immediate on the stack; traps when the TLB has no entry. */
const translate = [
  ...[
    ...register(baseAt),
    ...register(indexAt),
    ...i64const(3),
    ...i64shl,
    ...i64add,
    ...immediate,
    ...i64add,
    ...set(a),
  ],
  ...[...get(a), ...i64const(12), ...i64shrU, ...i32wrap, ...i32const(tlbEntries - 1), ...i32and],
  ...[...i32const(4), ...i32shl, ...i32const(tlbAt), ...i32add, ...set(entry)],
  ...[
    ...get(entry),
    ...i64load(),
    ...get(a),
    ...i64const(-4096),
    ...i64and,
    ...i64ne,
    ...ifThen,
    ...unreachable,
    ...end,
  ],
  ...[...get(entry), ...i32load(8), ...get(a), ...i32wrap, ...i32add],
];

const handlers = {
  add: arithmetic(1, register(baseAt), i64add),
  xor: arithmetic(2, register(baseAt), i64xor),
  and: arithmetic(2, immediate, i64and),
  inc: arithmetic(3, i64const(1), i64add),
  dec: arithmetic(4, i64const(1), i64sub),
  store: [...translate, ...register(destinationAt), ...i64store(), ...next],
  load: [...translate, ...i64load(), ...set(r), ...address(destinationAt), ...get(r), ...i64store(), ...next],
  jnz: [
    ...[...i32const(0), ...i64load(budgetAt), ...immediate, ...i64sub, ...set(r)],
    ...[...i32const(0), ...get(r), ...i64store(budgetAt)],
    ...[...get(r), ...i64const(0), ...i64leS, ...ifThen, ...get(op), ...ret, ...end],
    ...[...i32const(0), ...i64load(resultAt), ...i64eqz, ...ifThen, ...next, ...end],
    ...[...address(destinationAt), ...address(destinationAt), ...i32load(handlerAt), ...tailCall],
  ],
  stop: i32const(0),
};
const number = (name) => Object.keys(handlers).indexOf(name);

function makeModule() {
  const count = Object.keys(handlers).length;
  const section = (id, bytes) => [id, ...unsigned(bytes.length), ...bytes];
  const text = (string) => [string.length, ...[...string].map((c) => c.charCodeAt(0))];
  const run = [...get(0), ...get(0), ...i32load(), ...[0x11, 0, 0]]; // call_indirect
  const locals = [2, 3, 0x7e, 1, 0x7f]; // three i64, one i32
  const bodies = [...Object.values(handlers), run].map((code) => {
    const whole = [...locals, ...code, ...end];
    return [...unsigned(whole.length), ...whole];
  });
  const indices = [...Array(count).keys()].flatMap(unsigned);
  return new Uint8Array([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 1, 0x7f, 1, 0x7f]), // type 0: i32 -> i32
    ...section(2, [1, ...text('e'), ...text('memory'), 2, 0, 1]),
    ...section(3, [count + 1, ...Array(count + 1).fill(0)]),
    ...section(4, [1, 0x70, 0, count]),
    ...section(7, [1, ...text('run'), 0, count]),
    ...section(9, [1, 0, ...i32const(0), ...end, count, ...indices]),
    ...section(10, [count + 1, ...bodies.flat()]),
  ]);
}

/**
 * Makes the reference interpreter with the loop in it.
 * @returns {(rounds: number) => bigint} runs the loop and gives rax as it is afterwards, 1 + 3 * rounds
 */
export function makeReferenceLoop() {
  const memory = new WebAssembly.Memory({ initial: 64 });
  const view = new DataView(memory.buffer);
  const [rax, rcx, rdx, rbx, rsi, rdi] = [0, 8, 16, 24, 48, 56];
  const program = [
    ['add', rax, rbx, 0, 0],
    ['store', rax, rsi, rcx, 0],
    ['load', rdi, rsi, rcx, 8],
    ['xor', rdi, rax, 0, 0],
    ['inc', rcx, 0, 0, 0],
    ['and', rcx, 0, 0, 0xfff],
    ['dec', rdx, 0, 0, 0],
    ['jnz', programAt, 0, 0, 8],
    ['stop', 0, 0, 0, 0],
  ];
  program.forEach(([name, destination, base, index, value], i) => {
    const at = programAt + i * size;
    [number(name), destination, base, index].forEach((field, k) => view.setInt32(at + k * 4, field, true));
    view.setBigInt64(at + immediateAt, BigInt(value), true);
  });
  const data = 0x400000;
  for (let page = 0; page < 16; page++) {
    const virtual = data + page * 4096;
    const at = tlbAt + ((virtual >>> 12) % tlbEntries) * 16;
    view.setBigInt64(at, BigInt(virtual), true);
    view.setInt32(at + 8, ramAt - data, true);
  }
  const instance = new WebAssembly.Instance(new WebAssembly.Module(makeModule()), { e: { memory } });
  return (rounds) => {
    const start = {
      [rax]: 1n,
      [rbx]: 3n,
      [rcx]: 0n,
      [rsi]: BigInt(data),
      [rdx]: BigInt(rounds),
      [budgetAt]: 1n << 60n,
    };
    for (const [at, value] of Object.entries(start)) view.setBigInt64(Number(at), value, true);
    instance.exports.run(programAt);
    return view.getBigInt64(rax, true);
  };
}
