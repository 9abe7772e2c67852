/** REP MOVS and STOS do many iterations at once: they end as the same number of single ones would, wherever they are stopped. */
import assert from 'node:assert/strict';
import { Flag } from '../../../emulator-core/cpu/vcpu';
import { TestMachine } from '../testMachine';

const CODE = 0x300000;
const DATA = 0x200000;
const AREA = 0x4000;
const [RAX, RCX, RSI, RDI] = [0, 1, 6, 7];

interface Case {
  /** Element size in bytes. */
  size: 1 | 2 | 4 | 8;
  kind: 'copy' | 'fill';
  count: number;
  /** Offsets in the area. */
  from: number;
  to: number;
  rax?: bigint;
  backwards?: boolean;
}

const OPCODES = { copy: 0xa4, fill: 0xaa };

function code({ size, kind }: Case): number[] {
  const opcode = OPCODES[kind] + (size === 1 ? 0 : 1);
  // REP, the operand size, the opcode, HLT
  return [0xf3, ...(size === 2 ? [0x66] : size === 8 ? [0x48] : []), opcode, 0xf4];
}

/** SDM Vol. 2, "REP" and "MOVS", Operation: an element at a time. */
function expected(area: Uint8Array, c: Case, iterations: number): Uint8Array {
  const out = area.slice();
  const step = c.backwards ? -c.size : c.size;
  const accumulator = new Uint8Array(new BigUint64Array([c.rax ?? 0n]).buffer);
  for (let i = 0; i < iterations; i++) {
    const element =
      c.kind === 'copy' ? out.slice(c.from + i * step, c.from + i * step + c.size) : accumulator.subarray(0, c.size);
    out.set(element, c.to + i * step);
  }
  return out;
}

function check(c: Case, budget: number, mode: '64' | '32'): void {
  const t = new TestMachine().enter(mode);
  const { cpu, machine } = t;
  const area = Uint8Array.from({ length: AREA }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
  t.write(DATA, area);
  t.write(CODE, Uint8Array.from(code(c)));
  cpu.setGpr(RAX, c.rax ?? 0n);
  cpu.setGpr(RCX, BigInt(c.count));
  cpu.setGpr(RSI, BigInt(DATA + c.from));
  cpu.setGpr(RDI, BigInt(DATA + c.to));
  cpu.rflags = c.backwards ? Flag.DF | 2 : 2;
  cpu.rip = BigInt(CODE);
  const name = `${JSON.stringify(c, (_, v: unknown) => (typeof v === 'bigint' ? `0x${v.toString(16)}` : v))} by ${budget}`;
  const start = machine.core.retired;
  for (let done = 0; done < c.count;) {
    machine.run(Math.min(budget, c.count - done));
    done = machine.core.retired - start;
    const step = c.backwards ? -c.size : c.size;
    assert.equal(cpu.gpr(RCX), BigInt(c.count - done), `rcx: ${name}`);
    assert.equal(cpu.gpr(RDI), BigInt(DATA + c.to + done * step), `rdi: ${name}`);
    if (c.kind === 'copy') assert.equal(cpu.gpr(RSI), BigInt(DATA + c.from + done * step), `rsi: ${name}`);
    assert.equal(cpu.rip, BigInt(CODE + (done === c.count ? code(c).length - 1 : 0)), `rip: ${name}`);
    const memory = machine.memory.ram.slice(DATA, DATA + AREA);
    assert.ok(Buffer.compare(memory, expected(area, c, done)) === 0, `memory after ${done}: ${name}`);
  }
}

describe('REP MOVS and STOS by the page', () => {
  for (const size of [1, 2, 4, 8] as const) {
    const far: Case = { size, kind: 'copy', count: Math.floor(6000 / size), from: 0x10, to: 0x2003 };
    const cases: Case[] = [
      far,
      { ...far, from: 0x1ffd - size, to: 0x21 },
      // One element is what a later one copies on.
      { ...far, count: 700, to: 0x10 + size },
      { ...far, count: 700, to: 0x10 + 3 },
      { ...far, count: 400, from: 0x1000, to: 0x1000 - size },
      { ...far, count: 400, from: 0x1000, to: 0x1000 },
      { ...far, count: 300, from: 0x1800, to: 0x3000, backwards: true },
      { size, kind: 'fill', count: Math.floor(6000 / size), from: 0, to: 0x7fd, rax: 0xa5a5a5a5a5a5a5a5n },
      { size, kind: 'fill', count: Math.floor(6000 / size), from: 0, to: 0x7fd, rax: 0x1122334455667788n },
      { size, kind: 'fill', count: 300, from: 0, to: 0x1800, rax: 0n, backwards: true },
    ];
    for (const mode of size === 8 ? (['64'] as const) : (['64', '32'] as const)) {
      for (const budget of [1 << 20, 37, 5]) {
        it(`elements of ${size} bytes in ${mode}-bit code, stopped every ${budget} instructions`, () => {
          for (const c of cases) check(c, budget, mode);
        }).timeout(120_000);
      }
    }
  }
});
