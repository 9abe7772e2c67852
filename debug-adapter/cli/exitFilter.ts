/** Conditions on exits that have happened already, for trace files. */
import { FIELD_NAMES } from '../evaluate';
import { closest, compileNode, type Names } from '../expression/compile';
import { parse, type Node } from '../expression/parser';
import { RegisterNames } from '../expression/registers';
import { ExpressionError } from '../expression/tokens';
import type { Access } from '../expression/access';
import type { ExitRecord, Target } from '../target';
import { UsageError } from './usageError';

/** Fields that every exit has. */
const common: Readonly<Record<string, (exit: ExitRecord) => bigint>> = {
  seq: (exit) => BigInt(exit.seq),
  icount: (exit) => BigInt(exit.icount),
  cpu: (exit) => BigInt(exit.cpu),
  reason: (exit) => BigInt(exit.reason),
  rip: (exit) => exit.rip,
  qualification: (exit) => exit.qualification,
  length: (exit) => BigInt(exit.instructionLength),
  gla: (exit) => exit.guestLinear,
  gpa: (exit) => exit.guestPhysical,
};

/**
 * Compiles a condition over an exit's fields: those that all exits have, those of its kind (`port`, `msr` ...), `$rip`, and the
 * name of an exit, which is 1 for such an exit and else 0: `CPUID || IO_INSTRUCTION && port == 0x3f8`. What asks for a field
 * that an exit has not, `port == 0x3f8` of a CPUID exit, is false for that exit; the other sides of its `||` still count.
 * @throws UsageError with column and reason
 */
export function compileExitFilter(
  text: string,
  target: Pick<Target, 'registerInfo' | 'exitNames' | 'exitField' | 'constants'>,
): (exit: ExitRecord) => boolean {
  const exitNames = new Set(target.exitNames().map((one) => one.name));
  const constants = target.constants?.();
  const fields = new Set([...exitNames, ...Object.keys(common), ...(target.exitField ? FIELD_NAMES : [])]);
  let current: ExitRecord;

  const field = (name: string): bigint | undefined => {
    if (exitNames.has(name)) return current.name === name ? 1n : 0n;
    const value = target.exitField?.(current, name);
    if (value !== undefined || !Object.hasOwn(common, name)) return value;
    // The engine says which exits have an address; in the record of the others it is merely zero.
    return target.exitField && (name === 'gla' || name === 'gpa') ? undefined : common[name](current);
  };
  const access: Access = {
    register: () => current.rip,
    memory: () => undefined,
    field,
    get icount() {
      return current.icount;
    },
  };
  const names: Names = {
    registers: new RegisterNames(target.registerInfo()),
    pointerSize: 8,
    isField: (name) => fields.has(name),
    suggest: (name) => closest(name, fields),
    constant: (name) => constants?.get(name),
  };

  const test = (node: Node): (() => boolean) => {
    if (node.kind === 'binary' && (node.operator === '||' || node.operator === '&&')) {
      const [left, right] = [test(node.left), test(node.right)];
      return node.operator === '||' ? () => left() || right() : () => left() && right();
    }
    const { value } = compileNode(node, names);
    return () => {
      try {
        return value(access) !== 0n;
      } catch (error) {
        if (error instanceof ExpressionError) return false;
        throw error;
      }
    };
  };
  try {
    const node = parse(text, () => false);
    rejectState(node);
    const matches = test(node);
    return (exit) => {
      current = exit;
      return matches();
    };
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    const known = [...Object.keys(common), ...(target.exitField ? FIELD_NAMES : [])];
    const hint = /no variable or symbol/.test(error.message)
      ? `; fields of exits are ${[...new Set(known)].join(', ')}`
      : '';
    throw new UsageError(`--filter '${text}': ${error.message}${hint}`);
  }
}

/** The machine has moved on when an exit is looked at: only what its record holds can be asked for. */
function rejectState(node: Node): void {
  if (node.kind === 'register' && !/^(rip|pc|icount)$/i.test(node.name)) {
    throw new ExpressionError(
      `$${node.name} is not kept for past exits; there are $rip and the exit's fields`,
      node.column,
    );
  }
  if (
    node.kind === 'index' ||
    node.kind === 'member' ||
    node.kind === 'assign' ||
    (node.kind === 'unary' && node.operator === '*')
  ) {
    throw new ExpressionError('memory is not kept for past exits', node.column);
  }
  for (const child of Object.values(node)) {
    if (child && typeof child === 'object' && 'kind' in child) rejectState(child as Node);
  }
}
