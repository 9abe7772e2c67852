/** What may be typed next in the debug console: commands, registers, names of the program. */
import type { DebugProtocol as DAP } from '@vscode/debugprotocol';
import { completeCommand } from './commands/commands';
import type { Debuggee } from './debuggee';
import { completeHypercall } from './hypercalls';
import type { Frame } from './stack';

const MAX_COMPLETIONS = 100;

/**
 * @param before the text up to the cursor
 * @param frame whose local variables count
 */
export async function completions(
  machine: Debuggee,
  before: string,
  frame: () => Promise<Frame>,
): Promise<DAP.CompletionItem[]> {
  const command = completeHypercall(machine.target, before) ?? completeCommand(before);
  const targets: DAP.CompletionItem[] = (command?.words ?? []).map((label) => ({
    label,
    type: 'keyword',
    start: command!.start,
    length: before.length - command!.start,
  }));
  const register = /\$([\w.]*)$/.exec(before);
  const name = /[A-Za-z_]\w*$/.exec(before);
  if (register) {
    for (const label of machine.evaluator.registers.complete(register[1])) {
      targets.push({ label: `$${label}`, type: 'variable', start: register.index, length: register[0].length });
    }
  } else if (name) {
    const locals = machine.evaluator.scopeOf(await frame()).map((variable) => variable.name);
    const names = [
      ...locals.filter((each) => each.startsWith(name[0])),
      ...machine.symbols.completeNames(name[0], MAX_COMPLETIONS),
    ];
    for (const label of new Set(names))
      targets.push({ label, type: 'variable', start: name.index, length: name[0].length });
  }
  return targets.slice(0, MAX_COMPLETIONS);
}
