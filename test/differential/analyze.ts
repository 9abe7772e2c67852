/** What a generated sequence says of itself, found out from bytes: for vectors and for random bytes. */
import {
  CodeExt,
  Decoder,
  DecoderOptions,
  MemorySizeExt,
  OpKind,
  Register,
  RegisterExt,
  type Instruction,
} from 'iced-x86';
import { CODES } from '../../emulator-core/x86/codes';
import type { Encoded, MemoryUse } from './encode';
import { makeForm } from './forms';
import type { Sequence } from './generate';

/** @throws Error where an instruction has no row */
export function analyze(name: string, mode: 32 | 64, code: Uint8Array, rip: number): Sequence {
  const decoder = new Decoder(mode, code, DecoderOptions.None);
  decoder.ip = BigInt(rip);
  const instructions: Encoded[] = [];
  while (decoder.canDecode) {
    const x = decoder.decode();
    const start = decoder.position - x.length;
    instructions.push(describe(x, mode, code.subarray(start, decoder.position)));
    x.free();
  }
  decoder.free();
  return { name, mode, rip, instructions, code };
}

function describe(x: Instruction, mode: 32 | 64, bytes: Uint8Array): Encoded {
  const info = CODES[x.code];
  if (!info) throw new Error(`no row for ${Buffer.from(bytes).toString('hex')}`);
  const kinds = Array.from({ length: x.opCount }, (_, i) => x.opKind(i));
  const inMemory = kinds.includes(OpKind.Memory);
  const form = makeForm(info, CodeExt.opCode(x.code), mode, inMemory);
  const last = kinds.length - 1;
  const destination = kinds[0] === OpKind.Register ? x.opRegister(0) : Register.None;
  return {
    form,
    bytes,
    memory: inMemory ? [memoryUse(x, mode)] : [],
    repeated: x.hasRepPrefix || x.hasRepnePrefix,
    targetRegister: -1,
    destination: RegisterExt.isGPR(destination) ? RegisterExt.number(RegisterExt.fullRegister(destination)) : -1,
    immediate: last >= 0 && kinds[last] === OpKind.Immediate8 ? x.immediate8 : undefined,
    flagsRead: x.rflagsRead,
    flagsWritten: x.rflagsWritten | x.rflagsCleared | x.rflagsSet,
  };
}

function memoryUse(x: Instruction, mode: 32 | 64): MemoryUse {
  const register = x.memoryBase !== Register.None ? x.memoryBase : x.memoryIndex;
  const size = RegisterExt.isGPR(register) ? RegisterExt.size(register) * 8 : mode;
  const relative = x.memoryBase === Register.RIP || x.memoryBase === Register.EIP;
  const segment = x.memorySegment === Register.FS ? 'fs' : x.memorySegment === Register.GS ? 'gs' : 'none';
  const number = (r: Register): number => (RegisterExt.isGPR(r) ? RegisterExt.number(r) : -1);
  return {
    base: number(x.memoryBase),
    index: number(x.memoryIndex),
    scale: x.memoryIndexScale,
    displacement: Number(BigInt.asIntN(64, x.memoryDisplacement)),
    addressBits: size as 16 | 32 | 64,
    segment,
    bytes: Math.max(1, MemorySizeExt.size(x.memorySize)),
    fixed: relative ? Number(x.memoryDisplacement) : undefined,
  };
}
