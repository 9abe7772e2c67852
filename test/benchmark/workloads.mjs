/**
 * The guests of guests/: what they do, and the checksum of one round, computed here in another way than they compute it. One
 * round is the same work every time.
 */
import { createHash } from 'node:crypto';

/** The generator of "Numerical Recipes", which the guests use, from 1 on. */
function* random(count) {
  for (let value = 1, i = 0; i < count; i++) yield (value = (Math.imul(value, 1664525) + 1013904223) >>> 0);
}
const sum = (values) => values.reduce((total, value) => (total + value) | 0, 0);
const doubleWords = (doubles) => [...new Int32Array(Float64Array.from(doubles).buffer)];

function loop() {
  const [iterations, words] = [130_000, 4096];
  // Element k of the last writer: rax is 1 + 3n in iteration n, counted from 1, which writes element (n - 1) mod 4096.
  const rax = (n) => (1 + 3 * n) | 0;
  const next = iterations % words; // read in the last iteration, written a pass before
  const rdi = rax(iterations - words + 1) ^ rax(iterations);
  if (next === 0) throw new Error('the last iteration reads what nobody wrote');
  return (rax(iterations) + Math.imul(31, rdi)) | 0;
}

function scan() {
  const text = [...random(65536)].map((value) => String.fromCharCode(32 + ((value >>> 16) & 63))).join('');
  let total = 0;
  for (const [token] of text.matchAll(/[0-9]+|[A-Z]+|./g)) {
    if (/^[0-9A-Z]/.test(token)) {
      const number = /^[0-9]/.test(token);
      const value = [...token].reduce(
        (old, c) => (number ? Math.imul(old, 10) + Number(c) : Math.imul(old, 33) + c.charCodeAt(0)) | 0,
        number ? 0 : 5381,
      );
      total = value & 1 ? (total + value) | 0 : total ^ value;
    } else if (token < '0') total = (total + 1) | 0;
    else if (token < 'A') total = (total << 1) | (total >>> 31);
    else total ^= token.charCodeAt(0);
  }
  return total;
}

const copy = () => sum([...random(0x80000 / 4)].filter((_, index) => index % 1024 === 0));

const sort = () =>
  Uint32Array.from(random(8192))
    .sort()
    .reduce((hash, value) => (Math.imul(hash, 31) + value) | 0, 0);

function sha256() {
  const digest = createHash('sha256')
    .update(new Uint8Array(Uint32Array.from(random(1024)).buffer))
    .digest();
  return sum([0, 4, 8, 12, 16, 20, 24, 28].map((at) => digest.readInt32BE(at)));
}

function float() {
  const x = Array.from({ length: 512 }, (_, i) => i + 1);
  const y = x.map((value) => 1 / value);
  for (let pass = 0; pass < 16; pass++)
    for (let i = 0; i < x.length; i++) {
      x[i] = x[i] * 0.5 + y[i];
      y[i] -= x[i] * 0.125;
    }
  let [t, s, n] = [1, 0, 0];
  for (const value of x) {
    t = Math.sqrt(t * t + Math.abs(value));
    s += value / t;
    if (s >= 100) s -= 100;
    n += Math.trunc(s);
  }
  return sum([n, ...doubleWords([t, s])]);
}

function matrix() {
  const side = 64;
  const elements = [...random(2 * side * side)].map((value) => ((value >>> 16) & 255) / 3);
  const product = [];
  for (let row = 0; row < side; row++)
    for (let column = 0; column < side; column++) {
      let element = 0;
      for (let k = 0; k < side; k++) element += elements[row * side + k] * elements[(side + k) * side + column];
      product.push(element);
    }
  return doubleWords(product).reduce((hash, word) => (((hash << 1) | (hash >>> 31)) + word) | 0, 0);
}

/**
 * @typedef {object} Workload
 * @property {string} name of the row
 * @property {string} guest in guests/, without "-32.bin" or "-64.bin"
 * @property {string} says
 * @property {() => number} checksum of one round
 * @property {number} atLeast the goal beside QEMU's TCG
 * @property {number} [events] system calls, faults, exits of a round
 * @property {readonly string[]} [flags] of `ringside run`
 * @property {string} [noPeer] why there is nothing to compare with
 */

/** User code, in 32 and 64 bits. @type {readonly Workload[]} */
export const workloads = [
  { name: 'loop', says: 'the hot loop of 8 instructions with a load and a store', checksum: loop, atLeast: 1.5 },
  { name: 'scan', says: 'branchy code: a scanner of numbers and names, a call for each', checksum: scan, atLeast: 1 },
  { name: 'copy-string', says: 'copies by REP MOVSB and REP MOVS of words', checksum: copy, atLeast: 1 },
  { name: 'copy-loop', says: 'copies by loops of loads and stores', checksum: copy, atLeast: 1 },
  { name: 'sort', says: 'quicksort of 8192 numbers', checksum: sort, atLeast: 1 },
  { name: 'sha256', says: 'SHA-256 in plain integer instructions', checksum: sha256, atLeast: 1 },
  { name: 'float', says: 'floating point: SSE2 packed and scalar', checksum: float, atLeast: 1 },
  {
    name: 'matrix',
    says: 'the product of two 64 by 64 matrices of doubles, packed SSE2',
    checksum: matrix,
    atLeast: 1,
  },
].map((row) => ({ guest: `workloads/${row.name.replace(/-(.)/, (_, c) => c.toUpperCase())}`, ...row }));

const touched = 64;
const faults = 20 * touched;
const pages = Array.from({ length: touched }, (_, page) => 0x40000000 + page * 4096);
const [calls, switches, exits] = [10_000, 2000, 10_000];
const spaces = Array.from({ length: 16 }, (_, page) => (page + 1) * (page < 8 ? switches : 3 * switches));

/** System code, in 64 bits. @type {readonly Workload[]} */
export const systemWorkloads = [
  {
    name: 'system-call',
    guest: 'systemCall',
    says: 'SYSCALL from ring 3, a stack switch, a table, SYSRET',
    events: calls,
    checksum: () => (3 * calls * (calls + 1)) / 2,
    atLeast: 0.7,
  },
  {
    name: 'page-fault',
    guest: 'pageFault',
    says: 'a page fault whose handler maps the page, INVLPG afterwards',
    events: faults,
    checksum: () => sum([faults, ...pages]),
    atLeast: 0.7,
  },
  {
    name: 'context-switch',
    guest: 'contextSwitch',
    says: 'CR3 back and forth between two address spaces, eight pages touched in each',
    events: 2 * switches,
    checksum: () => sum(spaces),
    atLeast: 0.7,
  },
  { name: 'exit-cpuid', guest: 'cpuid', says: 'exits by CPUID', events: exits },
  { name: 'exit-port', guest: 'portOut', says: 'exits by OUT to a port', events: exits },
  {
    name: 'exit-mmio',
    guest: 'mmioRead',
    says: "exits by reads of the local APIC's memory",
    events: exits,
    checksum: () => exits * 0x1ff,
  },
  {
    name: 'exit-vmcall',
    guest: 'hypercall',
    says: 'exits by VMCALL, with mode kvm',
    events: exits,
    noPeer: 'QEMU TCG has no hypervisor for its guest: VMCALL is #UD there',
    flags: ['--mode', 'kvm'],
  },
].map((row) => ({ atLeast: 3, checksum: () => exits, ...row, guest: `system/${row.guest}` }));
