/**
 * The x87, MMX, SSE and AVX registers by name, for the debugger. SDM Vol. 1, "x87 FPU Execution Environment", "Programming with
 * Intel Streaming SIMD Extensions" and "Programming with AVX".
 */
import { signOf, classify, Class, float80, type Float80 } from './fpu/float80';
import { FpuState } from './fpu/fpuState';
import { fromDouble, toDouble } from './fpu/doubles';
import { State } from './layout';
import { bitNames, type RegisterRow } from './registerRow';
import type { Vcpu } from './vcpu';

const group = 'FPU & SIMD';
const STATUS_BITS = {
  IE: 1,
  DE: 2,
  ZE: 4,
  OE: 8,
  UE: 16,
  PE: 32,
  SF: 64,
  ES: 128,
  C0: 256,
  C1: 512,
  C2: 1024,
  C3: 1 << 14,
  B: 1 << 15,
};
const CONTROL_BITS = { IM: 1, DM: 2, ZM: 4, OM: 8, UM: 16, PM: 32 };
const MXCSR_BITS = {
  IE: 1,
  DE: 2,
  ZE: 4,
  OE: 8,
  UE: 16,
  PE: 32,
  DAZ: 64,
  IM: 128,
  DM: 256,
  ZM: 512,
  OM: 1024,
  UM: 2048,
  PM: 4096,
  FTZ: 1 << 15,
};
const PRECISIONS = ['24 bits', 'reserved precision', '53 bits', '64 bits'];
const ROUNDINGS = ['to nearest', 'down', 'up', 'toward zero'];
const MXCSR_MASK = 0xffffn;

const fpu = new FpuState();
function of(cpu: Vcpu): FpuState {
  fpu.cpu = cpu;
  return fpu;
}

const unpack = (value: bigint): Float80 => float80(Number(value >> 64n), BigInt.asUintN(64, value));
const packed = (x: Float80): bigint => (BigInt(x.signExponent) << 64n) | x.significand;

/** An 80-bit value for people: '1.5', '-inf', 'nan(0x...)', '1.25 * 2^12000' beyond the range of doubles. */
function describe80(value: bigint): string {
  const x = unpack(value);
  const sign = signOf(x) ? '-' : '';
  switch (classify(x)) {
    case Class.zero:
      return `${sign}0`;
    case Class.infinity:
      return `${sign}inf`;
    case Class.quietNan:
    case Class.signalingNan:
      return `${sign}nan(0x${BigInt.asUintN(63, x.significand).toString(16)})`;
    case Class.unsupported:
      return 'unsupported';
  }
  const { value: near, scale } = toDouble(x);
  return scale === 0 ? String(near) : `${near} * 2^${scale}`;
}

/** The value of '1.5', '-inf', 'nan': what whole numbers and hexadecimal digits do not say. */
function parse80(text: string): bigint | undefined {
  const named = /^([+-]?)(inf|nan)$/i.exec(text);
  if (named) {
    const significand = named[2].toLowerCase() === 'inf' ? 1n << 63n : 3n << 62n;
    return packed(float80(named[1] === '-' ? 0xffff : 0x7fff, significand));
  }
  if (!/^[+-]?\d+\.?\d*(e[+-]?\d+)?$/i.test(text)) return undefined;
  return packed(fromDouble(Number(text)));
}

/** 'v4_float {1, 2, 3, 4} v2_double {...} v4_int32 {...}': lanes as gdb names them. */
function describeLanes(value: bigint, width: number): string {
  const bytes = new DataView(new ArrayBuffer(width / 8));
  for (let i = 0; i < width / 8; i++) bytes.setUint8(i, Number((value >> BigInt(i * 8)) & 0xffn));
  const lanes = (name: string, size: number, read: (at: number) => number): string =>
    `v${width / 8 / size}_${name} {${Array.from({ length: width / 8 / size }, (_, i) => String(read(i * size))).join(', ')}}`;
  const float = lanes('float', 4, (at) => Number(bytes.getFloat32(at, true).toPrecision(7)));
  const double = lanes('double', 8, (at) => bytes.getFloat64(at, true));
  const int32 = lanes('int32', 4, (at) => bytes.getInt32(at, true));
  return width === 64 ? int32 : `${float} ${double} ${int32}`;
}

function x87(): RegisterRow[] {
  const stack: RegisterRow[] = Array.from({ length: 8 }, (_, i) => ({
    name: `st${i}`,
    group,
    width: 80,
    writable: true,
    read: (cpu) => packed(of(cpu).raw(i)),
    write: (cpu, value) => of(cpu).set(i, unpack(value)),
    describe: describe80,
    parse: parse80,
  }));
  const word = (
    name: string,
    slot: number,
    describe?: (v: bigint) => string,
    write?: (state: FpuState, v: number) => void,
  ): RegisterRow => ({
    name,
    group,
    width: 16,
    writable: write !== undefined,
    read: (cpu) => cpu.get64(slot) & 0xffffn,
    write: write && ((cpu, value) => write(of(cpu), Number(value))),
    describe,
  });
  const pointer = (name: string, slot: number): RegisterRow => ({
    name,
    group,
    width: 64,
    writable: true,
    read: (cpu) => cpu.get64(slot),
    write: (cpu, value) => cpu.set64(slot, value),
  });
  return [
    ...stack,
    word(
      'fcw',
      State.fcw,
      (v) => {
        const n = Number(v);
        return `${bitNames(v, CONTROL_BITS)} ${PRECISIONS[(n >> 8) & 3]}, rounds ${ROUNDINGS[(n >> 10) & 3]}`.trim();
      },
      (state, v) => (state.control = v),
    ),
    word(
      'fsw',
      State.fsw,
      (v) => `TOP=${(Number(v) >> 11) & 7} ${bitNames(v, STATUS_BITS)}`.trim(),
      (state, v) => {
        state.status = v;
        state.summarize();
      },
    ),
    word('ftw', State.ftw, undefined, (state, v) => (state.tags = v)),
    word('fop', State.fop),
    pointer('fip', State.fip),
    pointer('fdp', State.fdp),
  ];
}

/** A register in `slots` 64-bit slots at `at`. */
function vector(name: string, at: number, slots: number): RegisterRow {
  return {
    name,
    group,
    width: slots * 64,
    writable: true,
    read: (cpu) => {
      let value = 0n;
      for (let i = slots - 1; i >= 0; i--) value = (value << 64n) | cpu.get64(at + i * 8);
      return value;
    },
    write: (cpu, value) => {
      for (let i = 0; i < slots; i++) cpu.set64(at + i * 8, BigInt.asUintN(64, value >> BigInt(i * 64)));
    },
    describe: (value) => describeLanes(value, slots * 64),
  };
}

/** The rows that a processor with these CPUID features has. */
export function fpuRegisters(features: ReadonlySet<string>): RegisterRow[] {
  const rows = x87();
  const add = (file: string, count: number, place: (i: number) => number, slots: number): void => {
    for (let i = 0; i < count; i++) rows.push(vector(`${file}${i}`, place(i), slots));
  };
  if (features.has('mmx')) add('mm', 8, (i) => State.fpr + i * 16, 1);
  if (features.has('sse')) {
    add('xmm', 16, (i) => State.ymm + i * 32, 2);
    rows.push({
      name: 'mxcsr',
      group,
      width: 32,
      writable: true,
      read: (cpu) => BigInt(cpu.get32(State.mxcsr) >>> 0),
      write: (cpu, value) => {
        if (value & ~MXCSR_MASK) throw new Error(`mxcsr: reserved bits are set in 0x${value.toString(16)}`);
        cpu.set32(State.mxcsr, Number(value));
      },
      describe: (v) => `${bitNames(v, MXCSR_BITS)} rounds ${ROUNDINGS[(Number(v) >> 13) & 3]}`.trim(),
    });
  }
  if (features.has('avx')) add('ymm', 16, (i) => State.ymm + i * 32, 4);
  return rows;
}
