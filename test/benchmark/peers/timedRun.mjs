/** A guest's run on any emulator, timed by what the guest says on its serial console: < at the start, > or ! at the end. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

/**
 * @typedef {object} Peer An emulator that runs the guests of guests/.
 * @property {string} name for people, without a version
 * @property {() => Promise<{ version: string } | { missing: string }>} find whether it can run here; may install it
 * @property {(image: Buffer, folder: string, workload: import('../workloads.mjs').Workload) => Promise<Taken>} run runs the
 *   image; `folder` is for its files
 */

/**
 * What passed between the two characters, seconds.
 * @typedef {{ wall: number, cpu: number | undefined }} Taken `cpu`: processor time of all threads, which other programs on a busy
 *   machine do not lengthen so much; on Linux alone
 */

/** Processor time of a process so far (not one that has ended), seconds, in steps of 10 ms. proc_pid_stat(5): utime and stime; Linux has 100 ticks a second. */
function processorTime(pid) {
  if (process.platform !== 'linux') return undefined;
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /s, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Seconds before a run is given up. */
const limit = 120;
/** Milliseconds between two looks at a console that is a file: 0.5 % of a run of a second. */
const look = 5;

/**
 * Starts a program and ends it when its guest is done.
 * @param {string} program
 * @param {readonly string[]} args
 * @param {{ console?: string, env?: Record<string, string> }} [options] `console`: the file that the guest's console goes to;
 *   without it, it is standard output. `env`: on top of this process's.
 * @returns {Promise<Taken>} from < to >
 */
export function timedRun(program, args, { console, env } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    let text = '';
    let messages = '';
    let start;
    const end = (act) => {
      clearTimeout(timer);
      clearInterval(looking);
      child.kill('SIGKILL');
      act();
    };
    const fail = (why) => end(() => reject(new Error(`${program}: ${why}`)));
    const take = () => {
      const now = { wall: performance.now() / 1000, cpu: processorTime(child.pid) };
      if (text.includes('<')) start ??= now;
      if (start && text.includes('>')) end(() => resolve({ wall: now.wall - start.wall, cpu: now.cpu - start.cpu }));
      // The sum that the guest computed, 8 digits, follows.
      const wrong = /!([0-9a-f]{8})/.exec(text);
      if (wrong) fail(`the guest computed ${wrong[1]}, which is wrong`);
    };
    const timer = setTimeout(() => fail(`not done after ${limit} s; the console says '${text}'`), limit * 1000);
    const looking =
      console &&
      setInterval(() => {
        if (!existsSync(console)) return;
        text = readFileSync(console, 'latin1');
        take();
      }, look);
    child.stdout.setEncoding('latin1').on('data', (more) => {
      if (console) return;
      text += more;
      take();
    });
    child.stderr.setEncoding('utf8').on('data', (more) => (messages = (messages + more).slice(-400)));
    child.on('error', (error) => fail(error.message));
    child.on('close', (status) => fail(`ended with status ${status}: ${messages.trim()} ${text}`));
  });
}
