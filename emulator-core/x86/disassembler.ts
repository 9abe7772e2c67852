/**
 * Bytes to assembly text, over iced-x86. Portable: knows nothing of symbols' origin, memory or the debugger.
 */
import {
  Code,
  Decoder,
  DecoderError,
  DecoderOptions,
  FlowControl,
  Formatter,
  FormatterSyntax,
  type Instruction,
} from 'iced-x86';

export interface DisassembledInstruction {
  address: bigint;
  /** Bytes, 1..15. An undecodable byte makes an instruction of length 1 with `valid` false. */
  length: number;
  bytes: Uint8Array;
  /** Intel operand order, NASM syntax, numbers 0x-prefixed: 'mov rax,[rel 0x10001c]'. */
  text: string;
  valid: boolean;
  /** Target of a direct branch or call, or address of a RIP-relative operand. */
  target?: bigint;
  /** The instruction is a near or far call (direct or not). */
  isCall: boolean;
}

/** Names an address for the listing: 'main', 'main+0x10'; undefined leaves the number alone. */
export type SymbolResolver = (address: bigint) => string | undefined;

let sharedFormatter: Formatter | undefined;

function formatter(): Formatter {
  if (!sharedFormatter) {
    sharedFormatter = new Formatter(FormatterSyntax.Nasm);
    sharedFormatter.hexPrefix = '0x';
    sharedFormatter.hexSuffix = '';
    sharedFormatter.uppercaseHex = false;
    sharedFormatter.smallHexNumbersInDecimal = false;
    sharedFormatter.branchLeadingZeros = false;
    sharedFormatter.showBranchSize = false;
    sharedFormatter.spaceAfterOperandSeparator = true;
    sharedFormatter.ripRelativeAddresses = false;
  }
  return sharedFormatter;
}

function targetOf(instruction: Instruction): bigint | undefined {
  switch (instruction.flowControl) {
    case FlowControl.UnconditionalBranch:
    case FlowControl.ConditionalBranch:
    case FlowControl.Call:
    case FlowControl.XbeginXabortXend: {
      const target = instruction.nearBranchTarget;
      if (target !== 0n) return target;
    }
  }
  return instruction.isIpRelMemoryOperand ? instruction.ipRelMemoryAddress : undefined;
}

/**
 * Decodes instructions one after the other.
 * @param bytes code; decoding ends with them. A last instruction that is cut off is left out.
 * @param address linear address of bytes[0]; wraps at 2^bitness
 * @param bitness code width of the segment: 16, 32 or 64
 * @param limit at most this many instructions
 * @param resolve names branch targets and RIP-relative operands; the name follows the number in angle brackets
 */
export function disassemble(
  bytes: Uint8Array,
  address: bigint,
  bitness: 16 | 32 | 64,
  limit = Number.MAX_SAFE_INTEGER,
  resolve?: SymbolResolver,
): DisassembledInstruction[] {
  const out: DisassembledInstruction[] = [];
  const format = formatter();
  let offset = 0;
  while (offset < bytes.length && out.length < limit) {
    const at = BigInt.asUintN(64, address + BigInt(offset));
    const window = bytes.subarray(offset, offset + 15);
    const decoder = new Decoder(bitness, window, DecoderOptions.None);
    decoder.ip = at;
    const instruction = decoder.decode();
    const invalid = instruction.code === Code.INVALID;
    const cutOff = invalid && window.length < 15 && decoder.lastError === DecoderError.NoMoreBytes;
    if (!cutOff) {
      if (invalid) {
        const byte = window[0].toString(16).padStart(2, '0');
        out.push({
          address: at,
          length: 1,
          bytes: window.slice(0, 1),
          text: `db 0x${byte}`,
          valid: false,
          isCall: false,
        });
        offset += 1;
      } else {
        const length = instruction.length;
        const target = targetOf(instruction);
        const name = target !== undefined ? resolve?.(target) : undefined;
        const flow = instruction.flowControl;
        out.push({
          address: at,
          length,
          bytes: window.slice(0, length),
          text: format.format(instruction) + (name ? ` <${name}>` : ''),
          valid: true,
          target,
          isCall: flow === FlowControl.Call || flow === FlowControl.IndirectCall,
        });
        offset += length;
      }
    }
    instruction.free();
    decoder.free();
    if (cutOff) break;
  }
  return out;
}
