/** `ringside`: from a command line to an exit status. */
import { messageOf } from '../errors';
import { planLaunch, type LaunchPlan } from '../launchConfig';
import type { ExitRecord, Target } from '../target';
import { applyAttributes, helpText, parseCommandLine, parseCount, parsePort, type CommandLine } from './commandLine';
import { readConfiguration, substituteVariables, type Configuration } from './configFile';
import { compileExitFilter } from './exitFilter';
import { openProfile, profileOptions, type Profile } from './profileFile';
import { EXIT_USAGE, endText } from './runEnd';
import { runGuest, type RunOutcome } from './runGuest';
import type { Services } from './services';
import { exitLine, statisticsJson, statisticsText, traceLine } from './statistics';
import { TerminalInput } from './terminalInput';
import { UsageError } from './usageError';
import { writeSnapshot } from '../snapshotFiles';

/** Status of a process that a signal ended: 128 + SIGINT. */
const EXIT_INTERRUPTED = 130;
/** Something went wrong in Ringside itself. */
const EXIT_INTERNAL = 70;

/** Runs a command line (what follows `ringside`) and gives the exit status. Never throws. */
export async function main(args: readonly string[], services: Services): Promise<number> {
  try {
    const line = parseCommandLine(args, services.schema.properties);
    if (line.command === 'version') {
      services.out(`${services.version}\n`);
      return 0;
    }
    if (line.command === 'help' || line.options.help) {
      services.out(helpText(services.schema.properties, line.command === 'help' ? undefined : line.command));
      return 0;
    }
    if (line.command === 'dap') {
      const { server } = line.options;
      return await services.serveDap(server === undefined ? undefined : parsePort(server, '--server'));
    }
    return await runMachine(line, services);
  } catch (error) {
    const user = error instanceof UsageError;
    const text =
      user || !(error instanceof Error) ? String((error as Error)?.message ?? error) : (error.stack ?? error.message);
    services.err(user ? `ringside: ${oneLine(text)}\n` : `ringside: internal error: ${text}\n`);
    return user ? EXIT_USAGE : EXIT_INTERNAL;
  }
}

const oneLine = (text: string) => text.trim().replace(/\s*\n\s*/g, ' ');

/** `run` and `trace`. */
async function runMachine(line: CommandLine, services: Services): Promise<number> {
  const { options } = line;
  const maxIcount = options.maxIcount === undefined ? undefined : parseCount(options.maxIcount, '--max-icount');
  if (options.save !== undefined && options.until === undefined && maxIcount === undefined) {
    throw new UsageError('--save: needs --until TEXT or --max-icount N, which say when');
  }
  if (options.until === '') throw new UsageError('--until: the text is empty');
  const wantsExits = line.command === 'trace' || options.exits !== undefined;
  const profiling = profileOptions(line);
  const { target, plan } = await makeTarget(line, services, maxIcount !== undefined || !!profiling);
  // With the trace on standard output, the console goes where people look.
  const consoleOut = options.output === '-' ? textTo(services.err) : services.out;
  const toErr = consoleKeeper(services.err, consoleOut);
  const note = (text: string): void => toErr.line(`ringside: ${text}`);

  let trace: Trace | undefined;
  let profile: Profile | undefined;
  try {
    if (line.command === 'trace') trace = openTrace(line, services, target);
    if (profiling) profile = await openProfile(profiling, services, target, plan, note);
  } catch (error) {
    target.dispose();
    throw error;
  }

  const abort = new AbortController();
  let interrupted = false;
  const takeBack = services.onInterrupt(() => {
    interrupted = true;
    abort.abort();
  });
  const keyboard = services.keyboard;
  const started = services.now();
  let outcome: RunOutcome;
  try {
    outcome = await runGuest(
      { createTarget: async () => target },
      {
        until: options.until,
        maxIcount,
        signal: abort.signal,
        inputPossible: keyboard?.terminal,
        onConsole: toErr.console,
        onNote: note,
        nextStop: profile && (() => profile.profiler.next),
        onStop: profile && ((event) => profile.profiler.stopped(event)),
        onExits: trace?.write ?? (wantsExits ? (exits) => toErr.line(exits.map(exitLine).join('\n')) : undefined),
        onEnd: async (machine, end) => {
          profile?.write();
          if (options.save === undefined) return;
          if (end.kind !== 'until' && end.kind !== 'limit') return toErr.line('ringside: nothing was saved');
          const path = services.host.resolve(services.host.cwd(), options.save);
          await explained(() => writeSnapshot(services.host, path, machine), `--save: can't write '${path}': `);
          toErr.line(`ringside: saved icount ${machine.icount()} to '${path}'`);
        },
        onStart: (machine) => {
          if (!keyboard) return;
          const send = (data: Uint8Array) => void machine.consoleInput(data);
          if (!keyboard.terminal) return keyboard.start(send);
          services.err('ringside: Ctrl-A x quits\n');
          const input = new TerminalInput(send, () => abort.abort());
          keyboard.start((data) => input.type(data));
        },
      },
    );
  } finally {
    keyboard?.stop();
    takeBack();
    trace?.close();
    profile?.close();
  }
  const seconds = (services.now() - started) / 1000;

  if (outcome.lostExits) toErr.line(`ringside: ${outcome.lostExits} exits came too fast to be written`);
  toErr.line(`ringside: ${oneLine(endText(outcome.end))}`);
  if (options.stats) toErr.line(options.json ? statisticsJson(outcome, seconds) : statisticsText(outcome, seconds));
  return interrupted ? EXIT_INTERRUPTED : outcome.status;
}

/** The machine that the command line asks for. All errors up to here are about what the user gave. */
async function makeTarget(
  line: CommandLine,
  services: Services,
  exactStops: boolean,
): Promise<{ target: Target; plan: LaunchPlan }> {
  const { host } = services;
  const cwd = host.cwd();
  const path = host.resolve(cwd, line.argument!);
  const bytes = await explained(() => host.readFile(path), `${line.argument}: `);
  if (!bytes) throw new UsageError(`${line.argument}: no such file`);

  let base = cwd;
  let configuration: Configuration;
  if (isConfiguration(path, bytes)) {
    base = workspaceOf(host.resolve(path, '..'), host);
    const variables = { workspaceFolder: base, userHome: services.userHome, env: services.env };
    const text = new TextDecoder().decode(bytes);
    configuration = substituteVariables(readConfiguration(text, line.argument!, line.options.name), variables);
  } else {
    if (line.options.name !== undefined) throw new UsageError('--name: goes with a launch.json, not with a kernel');
    configuration = { kernel: path };
  }
  configuration = { type: 'ringside', request: 'launch', ...configuration };
  configuration = applyAttributes(configuration, line.attributes, (file) => host.resolve(cwd, file));
  // No debugger here: nobody to stop for, no symbols to show but in profiles, no history unless stops have to be exact.
  if (!line.attributes.some(({ flag }) => flag.path[0] === 'record')) configuration.record = exactStops;
  configuration.stopOnEntry = false;
  delete configuration.exits;
  if (line.options.profile === undefined) delete configuration.symbols;
  configuration.__workspaceFolder = base;
  const { engine } = services;
  return explained(async () => {
    const names = [...engine.exitNames(), ...engine.exceptionNames()].map((one) => one.name);
    const plan = await planLaunch(configuration, services.schema, names, host);
    return { target: await engine.create(plan.engine), plan };
  });
}

/** What fails while a machine is being made is the user's to mend: the message is enough. */
async function explained<T>(action: () => Promise<T>, prefix = ''): Promise<T> {
  try {
    return await action();
  } catch (error) {
    // A mistake of our own would be no use to the user as one line.
    if (!(error instanceof Error) || error instanceof TypeError || error instanceof RangeError) throw error;
    throw new UsageError(prefix + error.message);
  }
}

function isConfiguration(path: string, bytes: Uint8Array): boolean {
  if (/\.jsonc?$/i.test(path)) return true;
  return /^\uFEFF?\s*(\{|\/\/|\/\*)/.test(new TextDecoder().decode(bytes.subarray(0, 256)));
}

/** `.vscode/launch.json` belongs to the folder that holds `.vscode`. */
function workspaceOf(folder: string, host: Services['host']): string {
  return /[/\\]\.vscode[/\\]?$/.test(folder) ? host.resolve(folder, '..') : folder;
}

function textTo(write: (text: string) => void): (data: Uint8Array | string) => void {
  const decoder = new TextDecoder();
  return (data) => write(typeof data === 'string' ? data : decoder.decode(data, { stream: true }));
}

/** Keeps lines on standard error apart from a console line that has no end yet. */
function consoleKeeper(err: (text: string) => void, out: (data: Uint8Array) => void) {
  let midLine = false;
  return {
    console(data: Uint8Array): void {
      if (data.length) midLine = data[data.length - 1] !== 0x0a;
      out(data);
    },
    line(text: string): void {
      err(`${midLine ? '\n' : ''}${text}\n`);
      midLine = false;
    },
  };
}

interface Trace {
  write(exits: ExitRecord[]): void;
  close(): void;
}

function openTrace(line: CommandLine, services: Services, target: Target): Trace {
  const { output, filter: condition } = line.options;
  if (!target.capabilities.exits) throw new UsageError('trace: this engine sees no VM exits');
  const filter = condition === undefined ? undefined : compileExitFilter(condition, target);
  const { host } = services;
  const reaching = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw new UsageError(`can't write the trace: ${messageOf(error)}`);
    }
  };
  const file =
    output === '-'
      ? { write: services.out, close: () => {} }
      : reaching(() => services.createTrace(host.resolve(host.cwd(), output!)));
  return {
    write(exits) {
      const lines = (filter ? exits.filter(filter) : exits).map((exit) => `${traceLine(exit)}\n`);
      if (lines.length) reaching(() => file.write(lines.join('')));
    },
    close: file.close,
  };
}
