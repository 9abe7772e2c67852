/** Whether a variable, an expression or an address can have a data breakpoint, and which memory that is. */
import type { DebugProtocol as DAP } from '@vscode/debugprotocol';
import { dataId } from './breakpoints';
import type { Debuggee } from './debuggee';
import { formatMemoryReference } from './memoryReference';
import type { Frame } from './stack';

/** @param frame whose variables an expression may name */
export async function dataBreakpointInfo(
  machine: Debuggee,
  args: DAP.DataBreakpointInfoArguments,
  frame: () => Promise<Frame>,
): Promise<DAP.DataBreakpointInfoResponse['body']> {
  const none = (description: string): DAP.DataBreakpointInfoResponse['body'] => ({ dataId: null, description });
  if (!machine.target.capabilities.dataBreakpoints) return none('this engine has no data breakpoints');
  const { variablesReference, name, bytes, asAddress } = args;
  let place: { space: 'virtual' | 'physical' | 'host'; address: bigint; length: number } | undefined;
  if (asAddress) {
    const { value, space } = await machine.evaluator.integer(name, await frame());
    place = { space, address: BigInt.asUintN(64, value), length: bytes ?? 1 };
  } else if (variablesReference) {
    place = await machine.variables.placeOf(variablesReference, name);
  } else {
    place = await machine.variables.placeOfExpression(name, await frame());
  }
  if (!place) return none(`'${name}' is not in memory: only memory can be watched`);
  if (place.space === 'host') return none("memory of the VMM itself can't be watched");
  const length = bytes ?? place.length;
  const id = dataId(place.space, place.address, length);
  const where = formatMemoryReference(place);
  const description =
    asAddress || name === where ? `${where} (${length} bytes)` : `${name} at ${where} (${length} bytes)`;
  return {
    dataId: id,
    description,
    accessTypes: ['read', 'write', 'readWrite'],
    canPersist: place.space === 'physical',
  };
}
