/** Register names of expressions: those of Target, $pc, $sp, and the parts of general registers that Target does not list itself. */
import type { Type } from '../symbols/dwarf/types';
import type { RegisterInfo } from '../target';
import { builtinType } from './types';

export interface RegisterPart {
  /** Register of Target that holds it. */
  name: string;
  /** Lowest bit and width in bits. */
  shift: number;
  width: number;
  info: RegisterInfo;
}

const LEGACY = ['ax', 'bx', 'cx', 'dx'];
const POINTERS = ['si', 'di', 'bp', 'sp'];
const parts = new Map<string, [name: string, shift: number, width: number]>([
  ['pc', ['rip', 0, 64]],
  ['eip', ['rip', 0, 32]],
  ['ip', ['rip', 0, 16]],
  ['flags', ['rflags', 0, 16]],
  ['eflags', ['rflags', 0, 32]],
]);
for (const name of [...LEGACY, ...POINTERS]) {
  parts.set(`e${name}`, [`r${name}`, 0, 32]);
  parts.set(name, [`r${name}`, 0, 16]);
}
for (const name of LEGACY) {
  parts.set(`${name[0]}l`, [`r${name}`, 0, 8]);
  parts.set(`${name[0]}h`, [`r${name}`, 8, 8]);
}
for (const name of POINTERS) parts.set(`${name}l`, [`r${name}`, 0, 8]);
for (let i = 8; i < 16; i++) {
  parts.set(`r${i}d`, [`r${i}`, 0, 32]);
  parts.set(`r${i}w`, [`r${i}`, 0, 16]);
  parts.set(`r${i}b`, [`r${i}`, 0, 8]);
}
// gdb's names for whole registers; Target's own 'sp' would come first.
parts.set('sp', ['rsp', 0, 64]);
parts.set('fp', ['rbp', 0, 64]);

const LANES = /^([xy]?mm\d+)\.v(\d+)_(float|double|int8|int16|int32|int64)$/;
const LANE_TYPES: Record<string, string> = {
  float: 'float',
  double: 'double',
  int8: 'int8_t',
  int16: 'int16_t',
  int32: 'int32_t',
  int64: 'int64_t',
};

/** Finds registers by name, without regard to case. */
export class RegisterNames {
  private readonly byName = new Map<string, RegisterInfo>();

  constructor(readonly all: readonly RegisterInfo[]) {
    for (const info of all) this.byName.set(info.name.toLowerCase(), info);
  }

  /** undefined for unknown names. `name` without the '$'. */
  find(name: string): RegisterPart | undefined {
    const lower = name.toLowerCase();
    const whole = this.byName.get(lower);
    if (whole) return { name: whole.name, shift: 0, width: whole.width, info: whole };
    const part = parts.get(lower);
    const info = part && this.byName.get(part[0]);
    return part && info && { name: info.name, shift: part[1], width: Math.min(part[2], info.width), info };
  }

  /** 'xmm0.v4_float': a vector register as an array of lanes that fill it, as gdb names them. */
  findLanes(name: string): { part: RegisterPart; type: Type } | undefined {
    const [, register, count, lane] = LANES.exec(name.toLowerCase()) ?? [];
    const info = register ? this.byName.get(register) : undefined;
    const element = lane && builtinType(LANE_TYPES[lane]);
    if (!info || !element || element.kind !== 'base') return undefined;
    if (Number(count) * element.size * 8 !== info.width) return undefined;
    const type: Type = {
      kind: 'array',
      name: `${element.name}[${count}]`,
      size: info.width / 8,
      count: Number(count),
      element: () => element,
    };
    return { part: { name: info.name, shift: 0, width: info.width, info }, type };
  }

  /** 'xmm0.v4_float[0]': the lowest lane of a register that holds floating-point lanes (MMX registers hold integers only). */
  floatLane(name: string): string | undefined {
    const info = this.byName.get(name.toLowerCase());
    const lanes = info && info.width > 64 ? `${info.name}.v${info.width / 32}_float` : '';
    return this.findLanes(lanes) && `${lanes}[0]`;
  }

  /** Names that begin with a prefix, for completion. */
  complete(prefix: string): string[] {
    const lower = prefix.toLowerCase();
    const names = [...this.all.map((info) => info.name), ...parts.keys(), 'icount'];
    return [...new Set(names)].filter((name) => name.toLowerCase().startsWith(lower));
  }
}
