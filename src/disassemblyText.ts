/** A page of disassembly with an exit's fields on top. No vscode here: tested without an editor. */

/** What DAP's `disassemble` returns for one instruction. */
export interface Instruction {
  address: string;
  instructionBytes?: string;
  instruction: string;
  symbol?: string;
}

export interface DisassemblyPage {
  text: string;
  /** Zero-based line of the marked instruction; 0 when it is not among them. */
  line: number;
}

/**
 * @param fields name and value, printed as comments
 * @param mark the address to mark
 */
export function disassemblyPage(
  title: string,
  fields: [name: string, value: string][],
  instructions: Instruction[],
  mark: bigint,
): DisassemblyPage {
  const nameWidth = Math.max(0, ...fields.map(([name]) => name.length));
  const lines = [`; ${title}`, ...fields.map(([name, value]) => `;   ${name.padEnd(nameWidth)}  ${value}`), ''];
  const bytesWidth = Math.min(32, Math.max(0, ...instructions.map((one) => one.instructionBytes?.length ?? 0)));
  let line = 0;
  let inFunction = '';
  for (const one of instructions) {
    // The adapter may name every address, as 'main+0x4': one line where a function begins, or the page does.
    const name = (one.symbol ?? '').replace(/\+(0x)?[0-9a-f]+$/i, '');
    if (one.symbol && name !== inFunction) lines.push(`${one.symbol}:`);
    if (one.symbol) inFunction = name;
    const marked = isAddress(one.address) && BigInt(one.address) === mark;
    if (marked) line = lines.length;
    const bytes = (one.instructionBytes ?? '').trim().padEnd(bytesWidth);
    lines.push(`${marked ? '=>' : '  '} ${one.address}  ${bytes}  ${one.instruction}`.trimEnd());
  }
  if (!instructions.length) lines.push('; Nothing can be read at this address now.');
  return { text: lines.join('\n') + '\n', line };
}

function isAddress(text: string): boolean {
  return /^0x[0-9a-f]+$/i.test(text);
}
