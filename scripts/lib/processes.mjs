/** Child processes: run one to its end, or keep one in the background and be sure that it is gone at the end. */
import { spawn, spawnSync } from 'node:child_process';
import { UserError } from './project.mjs';

const windows = process.platform === 'win32';

/** Without what npm sets for the script that it runs, which would mislead another npm in another folder. */
export function cleanEnvironment(extra = {}) {
  const own = /^npm_(package|lifecycle)_|^npm_config_local_prefix$|^INIT_CWD$/;
  const kept = Object.entries(process.env).filter(([name]) => !own.test(name));
  return { ...Object.fromEntries(kept), ...extra };
}

/**
 * Runs a command to its end with this process's terminal.
 * @returns {Promise<number>} exit status; 128 + n after signal n, 127 when it cannot be started
 */
export function run(command, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: 'inherit', ...options });
    child.on('error', (error) => {
      process.stderr.write(`${command}: ${error.message}\n`);
      resolve(127);
    });
    child.on('close', (code, signal) => resolve(code ?? 128 + (signal === 'SIGINT' ? 2 : 15)));
  });
}

/** Runs a command and gives what it printed on standard output, or undefined when it failed. */
export function capture(command, args, options = {}) {
  const done = spawnSync(command, args, { encoding: 'utf8', ...options });
  return done.status === 0 ? done.stdout : undefined;
}

/** Runs npm; throws when it fails. `nodeFolder` goes first on PATH. */
export async function npm(args, { cwd, nodeFolder } = {}) {
  const env = cleanEnvironment();
  if (nodeFolder) env.PATH = `${nodeFolder}:${env.PATH}`;
  const status = await run(windows ? 'npm.cmd' : 'npm', args, { cwd, env, shell: windows });
  if (status !== 0) throw new UserError(`'npm ${args.join(' ')}' in ${cwd} failed with status ${status}`);
}

/** Process groups that are alive and ours; stopped when this process ends, whatever the reason. */
const running = new Set();
let watching = false;

function signalGroup(pid, signal) {
  try {
    if (windows) spawnSync('taskkill', ['/T', '/F', '/PID', String(pid)]);
    else process.kill(-pid, signal);
    return true;
  } catch {
    return false; // gone already
  }
}

function watchOwnEnd() {
  if (watching) return;
  watching = true;
  process.on('exit', () => running.forEach((pid) => signalGroup(pid, 'SIGKILL')));
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
  ]) {
    process.on(signal, () => process.exit(128 + number));
  }
}

/**
 * Starts a command as the head of its own process group.
 * @param {(line: string) => void} onLine gets every line of output
 * @returns {{ pid: number, ended: Promise<number>, stop: () => Promise<void> }}
 */
export function startGroup(command, args, { onLine, ...options } = {}) {
  watchOwnEnd();
  const child = spawn(command, args, { ...options, detached: !windows, stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [child.stdout, child.stderr]) {
    let rest = '';
    stream.setEncoding('utf8');
    stream.on('data', (text) => {
      const lines = (rest + text).split(/\r?\n/);
      rest = lines.pop();
      if (onLine) lines.forEach((line) => onLine(line));
    });
  }
  const pid = child.pid;
  if (pid !== undefined) running.add(pid);
  const ended = new Promise((resolve) => {
    child.on('error', (error) => {
      onLine?.(`${command}: ${error.message}`);
      resolve(127);
    });
    child.on('close', (code) => resolve(code ?? 1));
  });
  return {
    pid,
    ended,
    async stop() {
      if (pid === undefined || !running.has(pid)) return;
      signalGroup(pid, 'SIGTERM');
      const late = setTimeout(() => signalGroup(pid, 'SIGKILL'), 3000);
      await ended;
      clearTimeout(late);
      signalGroup(pid, 'SIGKILL'); // members of the group that outlived its head
      running.delete(pid);
    },
  };
}
