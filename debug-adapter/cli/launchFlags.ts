/** Launch attributes as command-line flags, derived from package.json's launch schema: names, types, descriptions. */
import type { Schema as CheckedSchema } from '../launchSchema';
import { UsageError } from './usageError';

/** What is used of a JSON schema, beyond what checking it needs. */
export interface Schema extends CheckedSchema {
  items?: Schema;
  properties?: Record<string, Schema>;
  markdownDescription?: string;
  description?: string;
}

/** One launch attribute on the command line. */
export interface LaunchFlag {
  /** '--memory'; parts of an object by a dot: '--cpu.vendor'. */
  flag: string;
  /** Where the value goes: ['cpu', 'vendor']. */
  path: string[];
  kind: 'text' | 'number' | 'switch' | 'list' | 'json';
  /** For lists: the member that a bare word stands for, where an item must be an object with that member. */
  member?: string;
  /** For lists: a bare word is a number. */
  numbers?: boolean;
  /** 'SIZE', 'FILE', 'bare|kvm|xen|vmware'. */
  placeholder: string;
  description: string;
}

const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/**
 * The flags for a launch schema. An object with named properties gives one flag for each of them as well as one for all, as JSON.
 * @param skip attributes that the command line has its own ways for
 */
export function launchFlags(properties: Readonly<Record<string, Schema>>, skip: readonly string[] = []): LaunchFlag[] {
  return Object.entries(properties)
    .filter(([name]) => !skip.includes(name))
    .flatMap(([name, schema]) => flagsOf([name], schema));
}

function flagsOf(path: string[], schema: Schema): LaunchFlag[] {
  const flag = { flag: `--${path.map(kebab).join('.')}`, path, description: firstSentence(schema) };
  const types = [schema.type ?? []].flat();
  if (schema.enum) return [{ ...flag, kind: 'text', placeholder: schema.enum.join('|') }];
  if (types.includes('boolean')) return [{ ...flag, kind: 'switch', placeholder: '' }];
  if (types.includes('array')) {
    const item = schema.items ?? {};
    const takesText = [item, ...(item.anyOf ?? [])].some((one) => [one.type].flat().includes('string') || one.enum);
    const member = takesText ? undefined : item.required?.length === 1 ? item.required[0] : undefined;
    if (item.type === 'integer') return [{ ...flag, kind: 'list', numbers: true, placeholder: 'N' }];
    const placeholder = (member ?? (takesText ? 'text' : 'json')).toUpperCase();
    return [{ ...flag, kind: 'list', member, placeholder }];
  }
  if (types.includes('string')) return [{ ...flag, kind: 'text', placeholder: 'TEXT' }];
  if (types.includes('integer') || types.includes('number')) return [{ ...flag, kind: 'number', placeholder: 'N' }];
  const parts = Object.entries(schema.properties ?? {}).flatMap(([name, part]) => flagsOf([...path, name], part));
  return [{ ...flag, kind: 'json', placeholder: 'JSON' }, ...parts];
}

function firstSentence(schema: Schema): string {
  const text = (schema.markdownDescription ?? schema.description ?? '').split('\n')[0].replace(/`/g, '');
  return /^.*?[.](?= [A-Z`]|$)/.exec(text)?.[0] ?? text;
}

/**
 * Puts a flag's value where it belongs in the configuration. A list grows by one item for each time its flag is given.
 * @param given true when this flag came earlier on the same command line: the configuration's own list is replaced by the first
 * @throws UsageError for a number that is none, JSON that is none
 */
export function applyFlag(
  configuration: Record<string, unknown>,
  flag: LaunchFlag,
  text: string,
  given: boolean,
): void {
  const holder = flag.path.slice(0, -1).reduce((object, name) => {
    const inner = object[name];
    const next = typeof inner === 'object' && inner !== null ? { ...inner } : {};
    object[name] = next;
    return next as Record<string, unknown>;
  }, configuration);
  const name = flag.path[flag.path.length - 1];
  if (flag.kind !== 'list') {
    holder[name] = valueOf(flag, text);
    return;
  }
  const earlier = given ? (holder[name] as unknown[]) : [];
  holder[name] = [...earlier, ...[itemOf(flag, text)].flat()];
}

function valueOf(flag: LaunchFlag, text: string): unknown {
  if (flag.kind === 'json') return json(flag, text);
  if (flag.kind === 'number') return number(flag, text);
  if (flag.kind === 'switch') return text === 'true';
  // `console` takes a word or an object.
  return text;
}

function itemOf(flag: LaunchFlag, text: string): unknown {
  if (/^\s*[[{]/.test(text)) return json(flag, text);
  if (flag.numbers) return number(flag, text);
  return flag.member ? { [flag.member]: text } : text;
}

function number(flag: LaunchFlag, text: string): number {
  if (!/^(0[xX][0-9a-fA-F]+|-?\d+)$/.test(text)) throw new UsageError(`${flag.flag}: '${text}' is not a number`);
  return Number(text);
}

function json(flag: LaunchFlag, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new UsageError(`${flag.flag}: expected JSON, got '${text}'`);
  }
}
