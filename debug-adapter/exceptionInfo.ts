/** What is told of the VM exit or the guest's exception that the machine stopped at. */
import type { DebugProtocol as DAP } from '@vscode/debugprotocol';
import type { Debuggee } from './debuggee';
import type { StopEvent } from './target';

/** @throws Error when `stop` is of another kind */
export function exceptionInfo(
  { target, symbols }: Debuggee,
  stop: StopEvent | undefined,
): DAP.ExceptionInfoResponse['body'] {
  if (stop?.exit && stop.reason === 'exit') {
    const lines = (fields: ReturnType<typeof target.describeExit>, indent: string): string[] =>
      fields.flatMap(({ name, value, text, children }) => [
        `${indent}${name}: ${[value, text].filter(Boolean).join(' ')}`,
        ...lines(children ?? [], `${indent}  `),
      ]);
    const fields = target.describeExit(stop.exit);
    return {
      exceptionId: stop.exit.name,
      description: stop.exit.summary,
      breakMode: 'always',
      details: { message: stop.exit.summary, typeName: stop.exit.name, stackTrace: lines(fields, '').join('\n') },
    };
  }
  if (stop?.exception && stop.reason === 'exception') {
    const { name, vector, errorCode, address, rip } = stop.exception;
    const parts = [`vector ${vector}`];
    if (errorCode !== undefined) parts.push(`error code 0x${errorCode.toString(16)}`);
    if (address !== undefined) parts.push(`linear address 0x${address.toString(16)}`);
    const place = symbols.describeAddress(rip);
    parts.push(`at 0x${rip.toString(16)}${place ? ` <${place}>` : ''}`);
    return {
      exceptionId: name,
      description: parts.join(', '),
      breakMode: 'always',
      details: { typeName: name, message: parts.join(', ') },
    };
  }
  throw new Error('the machine did not stop at a VM exit or an exception');
}
