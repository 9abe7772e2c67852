/**
 * What a machine's state has to look like: the shape of the state that the machine itself has at power-on. A state from a file has the
 * same members of the same types. What is empty, null or absent at power-on may be any plain data.
 */

type Shape =
  /** Absent at power-on. */
  | { kind: 'any' }
  | { kind: 'number' | 'bigint' | 'string' | 'boolean' }
  | { kind: 'object'; members: [string, Shape][] }
  | { kind: 'list'; elements: Shape[]; varies: boolean }
  | { kind: 'array'; type: string; length: number; varies: boolean };

export type { Shape };

const ANY: Shape = { kind: 'any' };

/** Lists that hold something at power-on already and have another length later on: all elements look like the first. */
const VARYING: readonly RegExp[] = [/^platform\.events$/, /^vcpus\[\d+\]\.msrs$/, /^ept$/];

/** The shape of plain data. @param path of the value in the state */
export function shapeOf(value: unknown, path = ''): Shape {
  if (value === undefined || value === null) return ANY;
  if (ArrayBuffer.isView(value)) {
    const length = (value as Uint8Array).length;
    return { kind: 'array', type: value.constructor.name, length, varies: varies(path, length) };
  }
  if (Array.isArray(value)) {
    const vary = varies(path, value.length);
    const elements = (vary ? value.slice(0, 1) : value).map((each, i) => shapeOf(each, `${path}[${i}]`));
    return { kind: 'list', elements, varies: vary };
  }
  if (typeof value === 'object') {
    const members = Object.entries(value).map(([name, member]): [string, Shape] => [
      name,
      shapeOf(member, path ? `${path}.${name}` : name),
    ]);
    return { kind: 'object', members };
  }
  return { kind: typeof value as 'number' };
}

function varies(path: string, length: number): boolean {
  return length === 0 || VARYING.some((each) => each.test(path));
}

/** What is wrong with `value`: 'platform.devices.pit.port61: expected a number, got a string'; undefined when it has the shape. */
export function misfit(value: unknown, shape: Shape, path = 'state'): string | undefined {
  const wrong = (expected: string): string => `${path}: expected ${expected}, got ${what(value)}`;
  switch (shape.kind) {
    case 'any':
      return wholeNumbers(value, path);
    case 'number':
      return right(value, path) ? undefined : wrong(isTime(path) ? 'a finite number' : 'a whole number');
    case 'bigint':
    case 'string':
    case 'boolean':
      return typeof value === shape.kind ? undefined : wrong(`a ${shape.kind}`);
    case 'array': {
      const right = ArrayBuffer.isView(value) && value.constructor.name === shape.type;
      const fits = right && (shape.varies || (value as unknown as Uint8Array).length === shape.length);
      return fits ? undefined : wrong(`${shape.varies ? '' : `${shape.length} elements of `}${shape.type}`);
    }
    case 'list': {
      if (!Array.isArray(value)) return wrong('a list');
      const { elements } = shape;
      if (!shape.varies && value.length !== elements.length) return wrong(`${elements.length} elements`);
      return first(value, (each, i) => misfit(each, elements[shape.varies ? 0 : i] ?? ANY, `${path}[${i}]`));
    }
    case 'object': {
      if (typeof value !== 'object' || value === null || Array.isArray(value) || ArrayBuffer.isView(value))
        return wrong('an object');
      const record = value as Record<string, unknown>;
      const known = new Set(shape.members.map(([name]) => name));
      const unknown = Object.keys(record).find((name) => !known.has(name));
      if (unknown !== undefined) return `${path}.${unknown}: there is no such member`;
      return first(shape.members, ([name, member]) =>
        Object.hasOwn(record, name) || member.kind === 'any'
          ? misfit(record[name], member, `${path}.${name}`)
          : `${path}.${name}: is missing`,
      );
    }
  }
}

function first<T>(list: readonly T[], check: (each: T, i: number) => string | undefined): string | undefined {
  for (let i = 0; i < list.length; i++) {
    const problem = check(list[i], i);
    if (problem) return problem;
  }
  return undefined;
}

/** Members that are points in virtual time, or spans of it: those may lie between two nanoseconds. */
const TIMES = /(At|[Ss]ince|due|deadline|stolen|reported|ns|Ns)$/;

/** The 8254 counts in whole pulses. */
const isTime = (path: string): boolean => TIMES.test(path) && !path.includes('.pit.');

/** All other numbers are counters and registers. */
function right(value: unknown, path: string): boolean {
  return isTime(path) ? Number.isFinite(value) : Number.isInteger(value);
}

function wholeNumbers(value: unknown, path: string): string | undefined {
  if (typeof value === 'number') return right(value, path) ? undefined : `${path}: expected a whole number`;
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return undefined;
  return first(Object.entries(value), ([name, each]) => wholeNumbers(each, `${path}.${name}`));
}

function what(value: unknown): string {
  if (ArrayBuffer.isView(value)) return `${(value as Uint8Array).length} elements of ${value.constructor.name}`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object') return value === null ? 'null' : 'an object';
  return typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : value === undefined
      ? 'nothing'
      : `a ${typeof value}`;
}
