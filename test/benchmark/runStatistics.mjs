/** `ringside run` with what it says about itself at its end, and what it needed. */
import { spawn } from 'node:child_process';
import { cli } from './peers/ringside.mjs';

/** For `node --import`: at its end the process says, in a last line of JSON, what memory it had at most. */
const sayPeak = `
  import { writeSync } from 'node:fs';
  process.on('exit', () => writeSync(2, JSON.stringify({ peak: process.resourceUsage().maxRSS * 1024 }) + '\\n'));`;
const threadClock = new URL('threadClock.mjs', import.meta.url).href;
const saysPeak = `data:text/javascript,${encodeURIComponent(sayPeak)}`;

/**
 * `ringside run ... --stats --json`.
 * @param {readonly string[]} args
 * @param {{ ownTime?: boolean }} options ownTime: times are the main thread's own processor time
 * @returns {Promise<{ instructions: number, seconds: number, mips: number, exits: Record<string, number>, peak: number,
 *   engine?: { longestCompileMilliseconds: number } }>} what --stats says, and `peak`: the most bytes of memory that the process had resident
 */
export function runStatistics(args, { ownTime = false } = {}) {
  return new Promise((resolve, reject) => {
    const imports = ['--import', saysPeak, ...(ownTime ? ['--no-warnings', '--import', threadClock] : [])];
    const child = spawn(process.execPath, [...imports, cli, 'run', ...args, '--stats', '--json'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let text = '';
    child.stderr.setEncoding('utf8').on('data', (more) => (text = (text + more).slice(-20_000)));
    child.on('error', reject);
    child.on('close', (status) => {
      const lines = text.trimEnd().split('\n').slice(-2);
      try {
        const statistics = Object.assign(...lines.map((line) => JSON.parse(line)));
        // 124: the limit that was asked for. A guest that died has measured nothing.
        if (status === 0 || status === 124) resolve(statistics);
        else reject(new Error(`the guest did not get there: ${statistics.end}`));
      } catch {
        reject(new Error(`ringside run ended with status ${status} and without statistics: ${text.slice(-200)}`));
      }
    });
  });
}
