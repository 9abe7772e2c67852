/**
 * Commands of the debug console: one row each. help, completion and the text for unknown ones come from this table. What is no command is
 * an expression.
 */
import type { Debuggee } from '../debuggee';
import { Listing } from '../disassembly';
import { littleEndian } from '../expression/access';
import { closest, showAddress } from '../expression/compile';
import { hypercallLines } from '../hypercalls';
import type { Frame } from '../stack';
import type { DecodedField, PagingWalk } from '../target';
import { LINUX_TOPICS } from './linuxTopics';
import { parseExamine, perLine, showUnit } from './examine';
import { screenText } from './screenText';
import { POWER_COMMANDS } from './powerCommand';
import { SNAPSHOT_COMMANDS } from './snapshotCommands';

export interface CommandContext {
  debuggee: Debuggee;
  /** The selected frame, or the innermost one. */
  frame: Frame;
  /** The client gives the command up. */
  signal?: AbortSignal;
}

export interface Command {
  name: string;
  /** Arguments as shown by help: 'ADDR', '[COUNT]'. */
  arguments: string;
  help: string;
  /** Matches the whole input; group 1 is what `run` gets. */
  pattern: RegExp;
  run: (context: CommandContext, argument: string, input: RegExpExecArray) => Promise<string> | string;
}

export interface Topic {
  name: string;
  arguments?: string;
  help: string;
  run: (context: CommandContext, argument: string) => Promise<string> | string;
}

const LISTED_EXITS = 20;
const MAX_STRING = 1024;

function fieldLines(fields: DecodedField[], indent = ''): string[] {
  return fields.flatMap(({ name, value, text, children }) => [
    `${indent}${name}${value || text ? ': ' : ''}${[value, text].filter(Boolean).join('  ')}`,
    ...fieldLines(children ?? [], `${indent}  `),
  ]);
}

function walkLines(walk: PagingWalk, what: string): string {
  const lines = walk.entries.map((entry) => {
    const used = [entry.accessed ? 'A' : '', entry.dirty ? 'D' : '', entry.memoryType ?? '', ...entry.flags]
      .filter(Boolean)
      .join(' ');
    const goes = entry.present
      ? `-> ${showAddress('physical', entry.target)} ${entry.permissions} ${used}`
      : 'not present';
    return `${entry.level} [${entry.index}] at ${showAddress('physical', entry.entryAddress)}: 0x${entry.raw.toString(16).padStart(16, '0')} ${goes}`;
  });
  const end =
    walk.result === undefined ? (walk.fault ?? 'no translation') : `= ${showAddress('physical', walk.result)}`;
  return [`${what} 0x${walk.input.toString(16)}`, ...lines, end].join('\n');
}

async function registerLines({ debuggee, frame }: CommandContext, groups: string[], filter: string): Promise<string> {
  const { target, evaluator } = debuggee;
  const lines: string[] = [];
  for (const info of target.registerInfo()) {
    if (filter ? info.name.toLowerCase() !== filter.toLowerCase() : !groups.includes(info.group)) continue;
    const { cpu, level } = frame.activation;
    const value = level === 0 ? await target.readRegister(cpu, info.name) : await frame.activation.register(info.name);
    const text =
      value === undefined
        ? '<not known in this frame>'
        : evaluator.registerText({ name: info.name, shift: 0, width: info.width, info }, value);
    lines.push(`${info.name.padEnd(10)} ${text}`);
  }
  if (lines.length === 0) throw new Error(`no register '${filter}'`);
  return lines.join('\n');
}

async function addressOf(
  { debuggee, frame }: CommandContext,
  text: string,
  usage: string,
): Promise<{ address: bigint; space: 'virtual' | 'physical' | 'host' }> {
  if (!text.trim()) throw new Error(`expected an address: ${usage}`);
  const { value, space } = await debuggee.evaluator.integer(text, frame);
  return { address: BigInt.asUintN(64, value), space };
}

function exitLines({ debuggee }: CommandContext, argument: string): string {
  const { target, symbols } = debuggee;
  const wanted = argument.trim();
  if (wanted && !/^\d+$/.test(wanted)) throw new Error(`'${wanted}': expected how many exits to list`);
  const counters = target.exitCounters().filter(({ count }) => count > 0);
  const lines = counters
    .sort((a, b) => b.count - a.count)
    .map(({ name, count }) => `${String(count).padStart(10)}  ${name}`);
  const exits = target.exits(wanted ? Math.min(Number(wanted), 1000) : LISTED_EXITS).reverse();
  for (const exit of exits) {
    const place = symbols.describeAddress(exit.rip);
    lines.push(
      `#${exit.seq} icount ${exit.icount} ${exit.name} at 0x${exit.rip.toString(16)}${place ? ` <${place}>` : ''}: ${exit.summary}`,
    );
  }
  return lines.join('\n') || 'no VM exits so far';
}

/** What the VMM offers its guest, where that is `name`. */
function interfaceLines({ debuggee: { target }, frame }: CommandContext, name: string): string {
  const offered = target.guestInterface?.(frame.activation.cpu);
  if (offered?.name === name) return fieldLines(offered.fields()).join('\n');
  const has = offered ? `the interface of ${offered.name}` : 'a plain PC';
  throw new Error(`this machine offers its guest ${has}: launch it with "mode": "${name.toLowerCase()}"`);
}

const TOPICS: readonly Topic[] = [
  {
    name: 'registers',
    arguments: '[NAME]',
    help: 'general registers, or one of any group',
    run: (c, name) => registerLines(c, ['Registers'], name),
  },
  { name: 'segments', help: 'segment registers and descriptor tables', run: (c) => registerLines(c, ['Segments'], '') },
  { name: 'control', help: 'control and debug registers', run: (c) => registerLines(c, ['Control'], '') },
  { name: 'fpu', help: 'x87 and vector registers', run: (c) => registerLines(c, ['FPU & SIMD'], '') },
  { name: 'msrs', help: 'model-specific registers', run: (c) => registerLines(c, ['MSRs'], '') },
  {
    name: 'vmcs',
    help: 'all fields of the VMCS',
    run: ({ debuggee, frame }) =>
      fieldLines(debuggee.target.vmcs(frame.activation.cpu)).join('\n') || 'this engine shows no VMCS',
  },
  { name: 'exits', arguments: '[COUNT]', help: 'VM exits by reason, and the newest ones', run: exitLines },
  {
    name: 'exit',
    help: 'the last VM exit, all fields',
    run: ({ debuggee: { target }, frame }) => {
      const exit = target.lastExit(frame.activation.cpu);
      return exit
        ? [`${exit.name}: ${exit.summary}`, ...fieldLines(target.describeExit(exit))].join('\n')
        : 'no VM exits so far';
    },
  },
  {
    name: 'ept',
    arguments: 'GPA',
    help: 'how the EPT translates a guest-physical address',
    run: async (c, text) => {
      const { address } = await addressOf(c, text, 'info ept 0xfee00000');
      return walkLines(c.debuggee.target.eptWalk(c.frame.activation.cpu, address), 'guest-physical');
    },
  },
  {
    name: 'pt',
    arguments: 'GVA',
    help: "how the guest's page tables translate a virtual address",
    run: async (c, text) => {
      const { address } = await addressOf(c, text, 'info pt $rip');
      return walkLines(c.debuggee.target.pageWalk(c.frame.activation.cpu, address), 'virtual');
    },
  },
  {
    name: 'devices',
    help: 'the devices and what they are doing',
    run: (c) => fieldLines(c.debuggee.target.devices()).join('\n') || 'no devices',
  },
  {
    name: 'kvm',
    help: 'what KVM offers the guest and what the guest has set up of it (mode kvm)',
    run: (c) => interfaceLines(c, 'KVM'),
  },
  {
    name: 'hypercalls',
    help: 'the hypercalls of the mode, and how often each was called',
    run: (c) => hypercallLines(c.debuggee.target),
  },
  {
    name: 'screen',
    help: 'what the display shows, as text',
    run: ({ debuggee: { target } }) => screenText(target.screen?.()),
  },
  {
    name: 'symbol',
    arguments: 'ADDR',
    help: 'symbol and source line of an address',
    run: async (c, text) => {
      const { address } = await addressOf(c, text, 'info symbol $rip');
      const { symbols } = c.debuggee;
      const line = symbols.lineAt(address);
      const parts = [
        symbols.describeAddress(address) ?? 'no symbol',
        line ? `${line.file}:${line.line}` : 'no source line',
      ];
      return `0x${address.toString(16)}: ${parts.join(', ')}`;
    },
  },
  {
    name: 'kernel',
    help: 'the Linux kernel: version, where KASLR put it, where its symbols are from',
    run: ({ debuggee: { kernel } }) => kernel.describe(),
  },
  ...LINUX_TOPICS,
  {
    name: 'files',
    help: 'files with symbols, and what could not be understood in them',
    run: ({ debuggee: { symbols } }) =>
      [
        ...symbols.files.map((file) => file.name),
        ...(symbols.runtime ? [`${symbols.runtime.name}: ${symbols.runtime.status}`] : []),
        ...symbols.warnings,
      ].join('\n') || 'no symbols loaded',
  },
  {
    name: 'filters',
    help: 'exits and exceptions that stop, with their conditions',
    run: ({ debuggee: { breakpoints } }) =>
      breakpoints
        .armedFilters()
        .map(({ name, condition, hits }) => `${name}${condition ? ` if ${condition}` : ''}  (stopped ${hits} times)`)
        .join('\n') || 'none',
  },
];

const topicNames = (): string => TOPICS.map((topic) => topic.name).join(', ');

async function info(context: CommandContext, argument: string): Promise<string> {
  const [, name, rest] = /^(\S*)\s*(.*)$/s.exec(argument.trim())!;
  const topic = TOPICS.find((each) => each.name === name) ?? uniquePrefix(name);
  if (!topic) {
    const names = TOPICS.map((each) => each.name);
    const near = name.length > 2 ? closest(name, names) : undefined;
    const what = name ? `there is no 'info ${name}' in this version` : 'info takes a topic';
    throw new Error(`${what};${near ? ` did you mean 'info ${near}'?` : ''} available: ${topicNames()}`);
  }
  return topic.run(context, rest.trim());
}

function uniquePrefix(name: string): Topic | undefined {
  const matches = name ? TOPICS.filter((topic) => topic.name.startsWith(name)) : [];
  return matches.length === 1 ? matches[0] : undefined;
}

async function examine(context: CommandContext, addressText: string, format: string): Promise<string> {
  const { debuggee, frame } = context;
  const { cpu, bitness } = frame.activation;
  const { target, symbols } = debuggee;
  const request = parseExamine(format, bitness === 64 ? 8 : 4);
  const { address, space } = await addressOf(context, addressText, 'x/8xg $rsp');
  if (request.format === 'i') return listing(context, address, space, request.count);
  if (request.format === 's') return strings(context, address, space, request.count);
  const bytes = await target.readMemory(space, cpu, address, request.count * request.size);
  const lines: string[] = [];
  const units = Math.floor(bytes.length / request.size);
  const each = perLine(request);
  for (let i = 0; i < units; i += each) {
    const at = address + BigInt(i * request.size);
    const symbol = space === 'virtual' ? symbols.describeAddress(at) : undefined;
    const row: string[] = [];
    for (let j = i; j < Math.min(i + each, units); j++) {
      const value = littleEndian(bytes.subarray(j * request.size, (j + 1) * request.size));
      row.push(showUnit(value, request, (a) => symbols.describeAddress(a)));
    }
    lines.push(`${showAddress(space, at)}${symbol ? ` <${symbol}>` : ''}: ${row.join(' ')}`);
  }
  if (units < request.count)
    lines.push(`${showAddress(space, address + BigInt(units * request.size))}: can't be read (not mapped)`);
  return lines.join('\n');
}

async function strings(
  { debuggee, frame }: CommandContext,
  start: bigint,
  space: 'virtual' | 'physical' | 'host',
  count: number,
): Promise<string> {
  const lines: string[] = [];
  let at = start;
  for (let i = 0; i < count; i++) {
    const bytes = await debuggee.target.readMemory(space, frame.activation.cpu, at, MAX_STRING);
    if (bytes.length === 0) {
      lines.push(`${showAddress(space, at)}: can't be read (not mapped)`);
      break;
    }
    const nul = bytes.indexOf(0);
    const text = new TextDecoder('latin1').decode(nul < 0 ? bytes : bytes.subarray(0, nul));
    lines.push(`${showAddress(space, at)}: ${JSON.stringify(text)}${nul < 0 ? '...' : ''}`);
    at += BigInt(nul < 0 ? bytes.length : nul + 1);
  }
  return lines.join('\n');
}

async function listing(
  context: CommandContext,
  address: bigint,
  space: 'virtual' | 'physical' | 'host',
  count: number,
): Promise<string> {
  const { target, symbols } = context.debuggee;
  const { cpu, bitness, pc } = context.frame.activation;
  const rows = await new Listing(target, symbols, cpu, space, bitness).rows(address, 0, count);
  return rows
    .map((row) => {
      const bytes = Array.from(row.bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
      const mark = space === 'virtual' && row.address === pc ? '=>' : '  ';
      return `${mark} ${showAddress(space, row.address)} ${row.symbol ? `<${row.symbol}> ` : ''}${bytes.padEnd(24)} ${row.text}`;
    })
    .join('\n');
}

const DISASSEMBLED = 16;

async function exitsCommand(context: CommandContext, argument: string): Promise<string> {
  const { breakpoints, target } = context.debuggee;
  const found = /^(arm|disarm)\s+(\S+)(?:\s+if\s+(.+))?$/s.exec(argument.trim());
  if (!found) {
    if (/^(\d*)$/.test(argument.trim())) return exitLines(context, argument);
    const names = [...target.exitNames(), ...target.exceptionNames()].map((each) => each.name);
    throw new Error(
      `expected 'exits', 'exits COUNT', 'exits arm NAME [if CONDITION]' or 'exits disarm NAME'; names: ${names.join(', ')}`,
    );
  }
  const [, verb, name, condition] = found;
  if (verb === 'arm') {
    await breakpoints.arm(name, condition);
    return `stops at ${name}${condition ? ` if ${condition}` : ''}`;
  }
  return breakpoints.disarm(name)
    ? `no longer stops at ${name}`
    : `${name} was not armed here (filters of the Breakpoints view stay)`;
}

async function swapOut(context: CommandContext, argument: string): Promise<string> {
  const found = /^\s*swap-out\b(.*)$/s.exec(argument);
  if (!found) throw new Error("expected 'kvm swap-out ADDR'");
  const { target } = context.debuggee;
  const { address, space } = await addressOf(context, found[1], 'kvm swap-out $rip');
  if (space === 'host' || !target.swapOut)
    throw new Error('expected a virtual or guest-physical address of guest memory');
  const walk = space === 'virtual' ? target.pageWalk(context.frame.activation.cpu, address) : undefined;
  if (walk && walk.result === undefined)
    throw new Error(`0x${address.toString(16)} is not mapped: ${walk.fault ?? ''}`);
  const gpa = walk?.result ?? address;
  target.swapOut(gpa);
  return `the page at ${showAddress('physical', gpa & ~0xfffn)} is swapped out`;
}

export const COMMANDS: readonly Command[] = [
  {
    name: 'help',
    arguments: '[COMMAND]',
    help: 'this list, or one command',
    pattern: /^help\b(.*)$/s,
    run: (_, name) => help(name.trim()),
  },
  { name: 'info', arguments: 'TOPIC', help: `about the machine: ${topicNames()}`, pattern: /^info\b(.*)$/s, run: info },
  {
    name: 'x',
    arguments: '/FMT ADDR',
    help: 'memory in a format: count, letter (x d u o t a c s i), size (b h w g), such as x/8xg $rsp, x/4i $pc, x/16xb phys:0x7c00',
    pattern: /^x\s*\/\s*(\w*)\s*(.*)$/s,
    run: (context, format, found) => examine(context, found[2], format),
  },
  {
    name: 'disas',
    arguments: '[ADDR]',
    help: 'disassembly from an address, or from the current instruction',
    pattern: /^disas(?:semble)?\b(.*)$/s,
    run: async (context, text) => {
      if (!text.trim()) return listing(context, context.frame.activation.pc, 'virtual', DISASSEMBLED);
      const { address, space } = await addressOf(context, text, 'disas main');
      return listing(context, address, space, DISASSEMBLED);
    },
  },
  {
    name: 'goto',
    arguments: 'icount N',
    help: 'time travel: to where N instructions had retired',
    pattern: /^goto\b(.*)$/s,
    run: async ({ debuggee, frame }, text) => {
      const found = /^\s*icount\s+(.+)$/s.exec(text);
      if (!found) throw new Error("expected 'goto icount N'");
      if (!debuggee.target.capabilities.timeTravel)
        throw new Error('going back needs "record": true in launch.json and an engine that can');
      const { value } = await debuggee.evaluator.integer(found[1], frame);
      if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER))
        throw new Error(`icount ${value}: expected a number from 0`);
      debuggee.run({ kind: 'gotoIcount', icount: Number(value) });
      return `to icount ${value} ...`;
    },
  },
  {
    name: 'exits',
    arguments: '[COUNT] | arm NAME [if CONDITION] | disarm NAME',
    help: 'VM exits so far; stop at one, such as exits arm IO_INSTRUCTION if port == 0x3f8',
    pattern: /^exits\b(.*)$/s,
    run: exitsCommand,
  },
  {
    name: 'kvm',
    arguments: 'swap-out ADDR',
    help: 'takes the page with an address away until the guest touches it, which gets an asynchronous page fault (mode kvm)',
    pattern: /^kvm\b(.*)$/s,
    run: swapOut,
  },
  ...SNAPSHOT_COMMANDS,
  ...POWER_COMMANDS,
  {
    name: 'print',
    arguments: 'EXPRESSION',
    help: 'the value of an expression, also one that looks like a command; p for short',
    pattern: /^(?:print|p)\s+(.+)$/s,
    run: async ({ debuggee, frame }, text) => (await debuggee.evaluator.evaluate(text, frame)).text,
  },
];

function help(name: string): string {
  const command = COMMANDS.find((each) => each.name === name);
  if (name && !command)
    throw new Error(
      `there is no command '${name}' in this version; available: ${COMMANDS.map((each) => each.name).join(', ')}`,
    );
  const usage = ({ name: word, arguments: args }: Command): string =>
    `${word}${args.startsWith('/') ? '' : ' '}${args}`;
  if (command?.name === 'info') {
    return TOPICS.map((topic) => `info ${`${topic.name} ${topic.arguments ?? ''}`.padEnd(18)} ${topic.help}`).join(
      '\n',
    );
  }
  if (command) return `${usage(command)}\n  ${command.help}`;
  const lines = COMMANDS.map((each) => `${usage(each)}\n    ${each.help}`);
  return [
    ...lines,
    'Everything else is a C expression: $rax + 8, *(uint32_t *)0xfee00030, phys:0x1000, variable->member',
  ].join('\n');
}

/** Runs a command; undefined when the input is no command. Throws an Error with a message for the user. */
export async function runCommand(context: CommandContext, input: string): Promise<string | undefined> {
  const text = input.trim();
  for (const command of COMMANDS) {
    const found = command.pattern.exec(text);
    // `exits = 5` and the like are expressions about a variable of that name.
    if (!found || /^\s*(=[^=]|->|\.|\[)/.test(text.slice(command.name.length))) continue;
    return command.run(context, found[1] ?? '', found);
  }
  return undefined;
}

/** What to add to the error of an expression that looks like a command: the commands there are. */
export function commandHint(input: string): string {
  return /^[a-z]+(\s+[\w./-]+)?$/i.test(input.trim())
    ? `; commands are ${COMMANDS.map((each) => each.name).join(', ')}`
    : '';
}

/** Words that could continue the input's last word, and where that begins. */
export function completeCommand(input: string): { words: string[]; start: number } | undefined {
  const topic = /^(info\s+)(\w*)$/.exec(input);
  if (topic)
    return {
      words: TOPICS.map((each) => each.name).filter((name) => name.startsWith(topic[2])),
      start: topic[1].length,
    };
  const word = /^\w*$/.exec(input);
  return word
    ? { words: COMMANDS.map((each) => each.name).filter((name) => name.startsWith(input)), start: 0 }
    : undefined;
}
