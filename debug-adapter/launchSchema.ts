/** Checks a launch configuration against package.json's JSON schema, with messages for people. Only what that schema uses is known. */
import { closest } from './expression/compile';

export interface Schema {
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  pattern?: string;
  patternErrorMessage?: string;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  minItems?: number;
  maxItems?: number;
  default?: unknown;
}

/** Attributes that every launch configuration may have: VS Code's own, and Ringside's private ones, which begin with `__`. */
const COMMON = new Set([
  ...[
    'type',
    'request',
    'name',
    'noDebug',
    'preLaunchTask',
    'postDebugTask',
    'internalConsoleOptions',
    'debugServer',
    'presentation',
  ],
  ...[
    'serverReadyAction',
    'linux',
    'osx',
    'windows',
    'suppressMultipleSessionWarning',
    'parentSession',
    'env',
    'restart',
  ],
]);

/** A launch configuration that cannot be used. The message names the attribute and what it takes. */
export class LaunchError extends Error {
  override name = 'LaunchError';
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return typeof value;
}

function matchesType(value: unknown, type: string): boolean {
  switch (type) {
    case 'integer':
      return typeof value === 'number' && Number.isInteger(value);
    case 'number':
      return typeof value === 'number' && Number.isFinite(value);
    default:
      return typeOf(value) === type;
  }
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function list(values: unknown[]): string {
  return values.map((value) => JSON.stringify(value)).join(', ');
}

const ARTICLES: Record<string, string> = {
  string: 'a string',
  integer: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  array: 'a list [...]',
  object: 'an object {...}',
  null: 'null',
};

/** What a schema takes, in words. */
function expectation(schema: Schema): string {
  if (schema.const !== undefined) return show(schema.const);
  if (schema.enum) return `one of ${list(schema.enum)}`;
  const variants = schema.anyOf ?? schema.oneOf;
  if (variants) return variants.map(expectation).join(', or ');
  if (schema.type === undefined) return 'another value';
  const text = [schema.type]
    .flat()
    .map((type) => ARTICLES[type] ?? type)
    .join(' or ');
  if (schema.type === 'object' && schema.properties)
    return `an object with ${Object.keys(schema.properties).join(', ')}`;
  return text;
}

/** Checks one value; throws a LaunchError at the first thing that is wrong. */
function check(value: unknown, schema: Schema, path: string): void {
  const variants = schema.anyOf ?? schema.oneOf;
  if (variants) {
    const fitting = variants.filter(
      (variant) => variant.type === undefined || [variant.type].flat().some((type) => matchesType(value, type)),
    );
    let first: unknown;
    for (const variant of fitting) {
      try {
        check(value, variant, path);
        return;
      } catch (error) {
        first ??= error;
      }
    }
    // The variant of the right type says best what is wrong.
    if (fitting.length === 1) throw first;
    throw new LaunchError(`${path}: expected ${expectation(schema)}, got ${show(value)}`);
  }
  if (schema.const !== undefined && value !== schema.const)
    throw new LaunchError(`${path}: expected ${show(schema.const)}, got ${show(value)}`);
  if (schema.enum && !schema.enum.includes(value)) {
    const near =
      typeof value === 'string'
        ? closest(
            value,
            schema.enum.filter((each) => typeof each === 'string'),
          )
        : undefined;
    throw new LaunchError(
      `${path}: expected ${expectation(schema)}, got ${show(value)}${near ? `; did you mean "${near}"?` : ''}`,
    );
  }
  if (schema.type !== undefined && ![schema.type].flat().some((type) => matchesType(value, type))) {
    throw new LaunchError(`${path}: expected ${expectation(schema)}, got ${show(value)}`);
  }
  if (typeof value === 'string') {
    if (schema.minLength !== undefined && value.length < schema.minLength)
      throw new LaunchError(`${path}: must not be empty`);
    if (schema.pattern !== undefined && !new RegExp(schema.pattern).test(value)) {
      throw new LaunchError(
        `${path}: ${show(value)} does not fit. ${schema.patternErrorMessage ?? `Expected the pattern ${schema.pattern}`}`,
      );
    }
  }
  if (typeof value === 'number') {
    const { minimum, maximum } = schema;
    if ((minimum !== undefined && value < minimum) || (maximum !== undefined && value > maximum)) {
      const range =
        maximum === undefined
          ? `at least ${minimum}`
          : minimum === undefined
            ? `at most ${maximum}`
            : `${minimum} to ${maximum}`;
      throw new LaunchError(`${path}: expected ${range}, got ${value}`);
    }
  }
  if (Array.isArray(value)) {
    if (schema.maxItems !== undefined && value.length > schema.maxItems)
      throw new LaunchError(`${path}: at most ${schema.maxItems} entries`);
    if (schema.minItems !== undefined && value.length < schema.minItems)
      throw new LaunchError(`${path}: at least ${schema.minItems} entries`);
    value.forEach((item, i) => schema.items && check(item, schema.items, `${path}[${i}]`));
  } else if (typeOf(value) === 'object') checkObject(value as Record<string, unknown>, schema, path);
}

function checkObject(value: Record<string, unknown>, schema: Schema, path: string): void {
  const known = schema.properties ?? {};
  for (const [key, each] of Object.entries(value)) {
    const where = path ? `${path}.${key}` : key;
    const found = Object.hasOwn(known, key) ? known[key] : undefined;
    if (found) {
      if (each !== undefined) check(each, found, where);
    } else if (typeof schema.additionalProperties === 'object') check(each, schema.additionalProperties, where);
    else if (schema.additionalProperties === false) {
      const near = closest(key, Object.keys(known));
      const hint = near ? `Did you mean "${near}"?` : `Known are ${Object.keys(known).join(', ')}.`;
      throw new LaunchError(`${where}: there is no such attribute. ${hint}`);
    }
  }
  for (const key of schema.required ?? []) {
    if (value[key] === undefined)
      throw new LaunchError(`${path ? `${path}.` : ''}${key}: is missing; expected ${expectation(known[key] ?? {})}`);
  }
}

/**
 * Checks the attributes of a launch configuration and fills in the schema's defaults. Throws a LaunchError.
 * @param schema configurationAttributes.launch of package.json
 */
export function checkConfiguration(configuration: Record<string, unknown>, schema: Schema): Record<string, unknown> {
  const own = Object.fromEntries(
    Object.entries(configuration).filter(([key]) => !COMMON.has(key) && !key.startsWith('__')),
  );
  checkObject(own, { additionalProperties: false, ...schema }, '');
  const filled: Record<string, unknown> = {};
  for (const [key, property] of Object.entries(schema.properties ?? {})) {
    const value = own[key] ?? property.default;
    if (value !== undefined) filled[key] = value;
  }
  return filled;
}
