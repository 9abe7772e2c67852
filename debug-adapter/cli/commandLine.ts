/** The command line: what there is in tables, parsing and --help out of them. */
import { applyFlag, launchFlags, type LaunchFlag, type Schema } from './launchFlags';
import { UsageError } from './usageError';

export type CommandName = 'run' | 'dap' | 'trace';

interface OptionRow {
  flag: string;
  /** A short form: '-o'. */
  short?: string;
  /** Name of the value in --help; absent: the option takes none. */
  value?: string;
  commands: readonly CommandName[];
  description: string;
}

const optionRows = {
  name: {
    flag: '--name',
    value: 'NAME',
    commands: ['run', 'trace'],
    description: 'Configuration of a launch.json to use. Default: the first of type ringside.',
  },
  until: {
    flag: '--until',
    value: 'TEXT',
    commands: ['run', 'trace'],
    description: 'End with status 0 when TEXT has appeared on the console.',
  },
  maxIcount: {
    flag: '--max-icount',
    value: 'N',
    commands: ['run', 'trace'],
    description: 'End with status 124 after N retired instructions. Takes K, M and G (powers of 1000).',
  },
  save: {
    flag: '--save',
    value: 'FILE',
    commands: ['run'],
    description:
      'When --until was seen or --max-icount is reached, save a snapshot into FILE: --from FILE goes on there.',
  },
  profile: {
    flag: '--profile',
    value: 'FILE',
    commands: ['run'],
    description:
      'Write where the guest spent its instructions, by call stack, into FILE: .cpuprofile (Chrome DevTools, VS Code) or .speedscope.json.',
  },
  profileEvery: {
    flag: '--profile-every',
    value: 'N',
    commands: ['run'],
    description: 'With --profile: retired instructions between two samples. Takes K, M and G. Default: 100000.',
  },
  exits: { flag: '--exits', commands: ['run'], description: 'Write each VM exit to standard error.' },
  stats: {
    flag: '--stats',
    commands: ['run', 'trace'],
    description: 'At the end, write instructions, time, speed and exits by reason to standard error.',
  },
  json: { flag: '--json', commands: ['run', 'trace'], description: 'With --stats: as one line of JSON.' },
  output: {
    flag: '--output',
    short: '-o',
    value: 'FILE',
    commands: ['trace'],
    description: 'The trace, as JSON lines. -: standard output.',
  },
  filter: {
    flag: '--filter',
    value: 'CONDITION',
    commands: ['trace'],
    description: "Only exits for which this holds: 'CPUID || IO_INSTRUCTION && port == 0x3f8'.",
  },
  server: {
    flag: '--server',
    value: 'PORT',
    commands: ['dap'],
    description: 'Serve on this port of the loopback interface. Default: standard input and output.',
  },
  help: { flag: '--help', short: '-h', commands: ['run', 'dap', 'trace'], description: 'Show this.' },
} as const satisfies Record<string, OptionRow>;

type OptionName = keyof typeof optionRows;
const options: readonly (readonly [OptionName, OptionRow])[] = Object.entries(optionRows) as [OptionName, OptionRow][];

interface CommandRow {
  name: CommandName;
  /** The argument without a dash; absent: there is none. */
  argument?: string;
  description: string;
}

const commands: readonly CommandRow[] = [
  {
    name: 'run',
    argument: 'CONFIG|KERNEL',
    description: 'Boot a guest with its serial console on standard output.',
  },
  { name: 'dap', description: 'Serve the Debug Adapter Protocol.' },
  { name: 'trace', argument: 'CONFIG|KERNEL', description: 'Run a guest and write every VM exit to a file.' },
];

/** Attributes that a run on the command line has no use for, or its own option. */
const skippedAttributes = ['kernel', 'exits', 'stopOnEntry', 'console', 'symbols', 'sourceMap', 'gdbServer'];

/** A command line, parsed. */
export interface CommandLine {
  command: CommandName | 'help' | 'version';
  /** CONFIG or KERNEL. */
  argument?: string;
  /** Text of the options that take a value, 'true' for the others. */
  options: Partial<Record<OptionName, string>>;
  /** Launch attributes, to be laid over the configuration by applyAttributes(). */
  attributes: { flag: LaunchFlag; text: string }[];
}

/**
 * Parses what follows `ringside`. Options and the argument may come in any order; `--flag=value` is `--flag value`.
 * @param schema properties of package.json's launch schema
 * @throws UsageError
 */
export function parseCommandLine(args: readonly string[], schema: Readonly<Record<string, Schema>>): CommandLine {
  const [first, ...rest] = args;
  if (first === undefined) throw new UsageError(`no command; there are ${commandNames()}: see ringside --help`);
  if (first === '--help' || first === '-h' || first === 'help') return { command: 'help', options: {}, attributes: [] };
  if (first === '--version') return { command: 'version', options: {}, attributes: [] };
  const command = commands.find((one) => one.name === first);
  if (!command) throw new UsageError(`no command is called '${first}'; there are ${commandNames()}`);

  const line: CommandLine = { command: command.name, options: {}, attributes: [] };
  const flags = command.argument ? launchFlags(schema, skippedAttributes) : [];
  const left = [...rest];
  while (left.length) {
    const word = left.shift()!;
    if (!word.startsWith('-') || word === '-') takeArgument(line, command, word);
    else if (word === '--') left.splice(0).forEach((one) => takeArgument(line, command, one));
    else takeOption(line, flags, word, left);
  }
  if (line.options.help) return line;
  if (command.argument && line.argument === undefined) {
    throw new UsageError(`${command.name}: ${command.argument} is missing: see ringside ${command.name} --help`);
  }
  if (command.name === 'trace' && line.options.output === undefined) throw new UsageError('trace: -o FILE is missing');
  return line;
}

const commandNames = () => commands.map((one) => one.name).join(', ');

function takeArgument(line: CommandLine, command: CommandRow, word: string): void {
  if (!command.argument) throw new UsageError(`${command.name}: takes no argument, got '${word}'`);
  if (line.argument !== undefined) {
    throw new UsageError(`${command.name}: one ${command.argument} only, got '${line.argument}' and '${word}'`);
  }
  line.argument = word;
}

function takeOption(line: CommandLine, flags: readonly LaunchFlag[], word: string, left: string[]): void {
  const equals = word.indexOf('=');
  const flag = equals < 0 ? word : word.slice(0, equals);
  const inline = equals < 0 ? undefined : word.slice(equals + 1);
  const value = (what: string) => {
    const text = inline ?? left.shift();
    if (text === undefined) throw new UsageError(`${flag}: ${what} is missing`);
    return text;
  };

  const own = options.find(
    ([, row]) => row.commands.includes(line.command as CommandName) && [row.flag, row.short].includes(flag),
  );
  if (own) {
    const [name, row] = own;
    if (!row.value && inline !== undefined) throw new UsageError(`${flag}: takes no value`);
    line.options[name] = row.value ? value(row.value) : 'true';
    return;
  }
  const attribute = flags.find(
    (one) => one.flag === flag || (one.kind === 'switch' && `--no-${one.flag.slice(2)}` === flag),
  );
  if (!attribute)
    throw new UsageError(`${line.command}: no option is called '${flag}': see ringside ${line.command} --help`);
  if (attribute.kind === 'switch') {
    if (inline !== undefined) throw new UsageError(`${flag}: takes no value`);
    line.attributes.push({ flag: attribute, text: String(flag === attribute.flag) });
  } else {
    line.attributes.push({ flag: attribute, text: value(attribute.placeholder) });
  }
}

/** Attributes that name files: on the command line, these are relative to the current folder. */
const fileAttributes = ['initrd', 'modules', 'disks', 'shares', 'domains', 'from', 'snapshot'];
/** What stands where a path may stand. */
const WORDS: Readonly<Record<string, readonly string[]>> = { from: ['boot', 'snapshot'] };

/** Lays the launch attributes of the command line over a configuration, which stays as it is. `absolute` makes a path absolute. */
export function applyAttributes(
  configuration: Readonly<Record<string, unknown>>,
  attributes: CommandLine['attributes'],
  absolute: (path: string) => string,
): Record<string, unknown> {
  const result = { ...configuration };
  const given = new Set<string>();
  for (const { flag, text } of attributes) {
    applyFlag(result, flag, text, given.has(flag.flag));
    given.add(flag.flag);
  }
  for (const name of fileAttributes) {
    const given = attributes.some(({ flag }) => flag.path[0] === name);
    if (given && !WORDS[name]?.includes(result[name] as string)) {
      result[name] = withAbsolutePaths(result[name], absolute);
    }
  }
  return result;
}

function withAbsolutePaths(value: unknown, absolute: (path: string) => string): unknown {
  if (typeof value === 'string') return value && absolute(value);
  if (Array.isArray(value)) return value.map((item) => withAbsolutePaths(item, absolute));
  if (typeof value !== 'object' || value === null) return value;
  const paths = ['file', 'kernel', 'path'].map((key) => [key, (value as Record<string, unknown>)[key]] as const);
  const changed = paths
    .filter(([, path]) => typeof path === 'string')
    .map(([key, path]) => [key, absolute(path as string)]);
  return { ...value, ...Object.fromEntries(changed) };
}

/** A count with an optional K, M or G. @throws UsageError */
export function parseCount(text: string, flag: string): number {
  const match = /^(\d+)([KMG]?)$/i.exec(text);
  const count = match ? Number(match[1]) * 1000 ** ['', 'K', 'M', 'G'].indexOf(match[2].toUpperCase()) : NaN;
  if (!Number.isSafeInteger(count) || count === 0) {
    throw new UsageError(`${flag}: expected a count such as 100000 or 100M, got '${text}'`);
  }
  return count;
}

/** A TCP port, 0 for any free one. @throws UsageError */
export function parsePort(text: string, flag: string): number {
  const port = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(port <= 65535)) throw new UsageError(`${flag}: expected a port from 0 to 65535, got '${text}'`);
  return port;
}

/** What --help shows: of everything, or of one command. */
export function helpText(schema: Readonly<Record<string, Schema>>, only?: CommandName): string {
  const shown = commands.filter((one) => !only || one.name === only);
  const lines = ['Usage:'];
  for (const { name, argument } of shown) {
    const required = name === 'trace' ? ' -o FILE' : '';
    lines.push(`  ringside ${name}${argument ? ` ${argument}` : ''}${required} [options]`);
  }
  lines.push('');
  for (const { name, description } of shown) lines.push(...entry(name, description));
  if (shown.some((one) => one.argument)) {
    lines.push('', 'CONFIG is a launch.json or a file with one configuration, KERNEL an image to boot.');
  }
  lines.push('', 'Options:');
  for (const [, row] of options) {
    if (only && !row.commands.includes(only)) continue;
    const scope = only || row.commands.length === commands.length ? '' : ` (${row.commands.join(', ')})`;
    lines.push(
      ...entry(
        `${row.short ? `${row.short}, ` : ''}${row.flag}${row.value ? ` ${row.value}` : ''}`,
        row.description + scope,
      ),
    );
  }
  if (shown.some((one) => one.argument)) {
    lines.push('', 'Launch attributes, over those of CONFIG (lists: once for each item, an item as text or JSON):');
    for (const flag of launchFlags(schema, skippedAttributes)) {
      const name = flag.kind === 'switch' ? `--[no-]${flag.flag.slice(2)}` : `${flag.flag} ${flag.placeholder}`;
      lines.push(...entry(name, flag.description));
    }
    lines.push(
      '',
      'Exit status: 0 --until was seen or the guest powered off, 2 wrong usage or input, 3 the guest died, 124 at a limit;',
      'a guest that writes v to port 0xf4: 0 for v = 0, else (v << 1) | 1.',
    );
  }
  return lines.join('\n') + '\n';
}

const COLUMN = 26;
const WIDTH = 110;

/** 'name  description', the description wrapped and aligned. */
function entry(name: string, description: string): string[] {
  const lines: string[] = [];
  let current = `  ${name}`.padEnd(COLUMN);
  if (current.length > COLUMN) {
    lines.push(current);
    current = ' '.repeat(COLUMN);
  }
  for (const word of description.split(' ')) {
    if (current.length + word.length + 1 > WIDTH) {
      lines.push(current);
      current = ' '.repeat(COLUMN);
    }
    current += current.endsWith(' ') ? word : ` ${word}`;
  }
  return [...lines, current];
}
