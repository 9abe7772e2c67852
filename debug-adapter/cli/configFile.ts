import { parseJsonc } from './jsonc';
import { UsageError } from './usageError';

/** Attributes of one launch configuration, as the user wrote them. */
export type Configuration = Record<string, unknown>;

/** What `${...}` variables are replaced by. */
export interface Variables {
  workspaceFolder: string;
  userHome: string;
  env: Readonly<Record<string, string | undefined>>;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Takes one configuration out of a launch.json (the one called `name`, else the first launch configuration of type
 * ringside) or a file that holds a single one.
 * @throws UsageError when there is none, with the names there are
 */
export function readConfiguration(text: string, file: string, name?: string): Configuration {
  const parsed = parseJsonc(text, file);
  if (!isObject(parsed)) throw new UsageError(`${file}: expected an object: a launch.json or one configuration`);
  if (parsed.configurations === undefined) {
    if (name !== undefined && parsed.name !== name) {
      throw new UsageError(`${file}: no configuration is called '${name}'; the file holds only ${quote(parsed.name)}`);
    }
    return checkKind(parsed, file);
  }
  if (!Array.isArray(parsed.configurations)) throw new UsageError(`${file}: "configurations" must be an array`);
  const all = parsed.configurations.filter(isObject);
  const ours = all.filter((one) => one.type === 'ringside' && one.request === 'launch');
  if (name === undefined) {
    if (ours.length) return ours[0];
    throw new UsageError(`${file}: no configuration has "type": "ringside" and "request": "launch"`);
  }
  const named = all.find((one) => one.name === name);
  if (named) return checkKind(named, file);
  const names = ours.map((one) => quote(one.name)).join(', ') || 'none of type ringside';
  throw new UsageError(`${file}: no configuration is called '${name}'; there are ${names}`);
}

function quote(name: unknown): string {
  return typeof name === 'string' ? `'${name}'` : 'one without a name';
}

function checkKind(configuration: Configuration, file: string): Configuration {
  const { type = 'ringside', request = 'launch' } = configuration;
  if (type !== 'ringside' || request !== 'launch') {
    throw new UsageError(
      `${file}: ${quote(configuration.name)} has type '${String(type)}' and request '${String(request)}'; ` +
        `expected 'ringside' and 'launch'`,
    );
  }
  return configuration;
}

/** Replaces the variables of VS Code that make sense outside it in every string, at any depth. */
export function substituteVariables<T>(value: T, variables: Variables): T {
  if (typeof value === 'string') return substituteInText(value, variables) as T;
  if (Array.isArray(value)) return value.map((item) => substituteVariables(item, variables)) as T;
  if (isObject(value)) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, substituteVariables(item, variables)]),
    ) as T;
  }
  return value;
}

function substituteInText(text: string, { workspaceFolder, userHome, env }: Variables): string {
  return text.replace(/\$\{([^}]*)\}/g, (whole, name: string) => {
    if (name === 'workspaceFolder') return workspaceFolder;
    if (name === 'workspaceFolderBasename') return workspaceFolder.replace(/[/\\]+$/, '').replace(/^.*[/\\]/, '');
    if (name === 'userHome') return userHome;
    if (name.startsWith('env:')) return env[name.slice(4)] ?? '';
    throw new UsageError(
      `the variable ${whole} is only known inside VS Code; here there are workspaceFolder, ` +
        `workspaceFolderBasename, userHome and env:NAME`,
    );
  });
}
