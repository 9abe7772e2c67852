/** A kernel's debug information of hundreds of megabytes in a session: how soon, in how much memory, and how the adapter answers meanwhile. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { DapClient } from '../../scripts/lib/dapClient.mjs';
import { cmdline, linux, memory } from './linuxBoot.mjs';

/** Of the kernel in samples/linux/build/cloud, with DWARF: in Debian from linux-image-…-cloud-amd64-dbg. */
const vmlinux = process.env.RINGSIDE_VMLINUX ?? '';
export const hasVmlinux = () => existsSync(vmlinux);
export const vmlinuxMissing = 'no debug information: RINGSIDE_VMLINUX names the vmlinux of the kernel in samples/linux';

/** Megabytes that a process had at most, and megabytes of its guest's RAM that are in memory now. */
function megabytes(pid) {
  const peak = Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;
  // The machine's memory is one mapping: guest RAM and some tables before it.
  const [least, most] = [memory * 1024, memory * 1024 * 2];
  let guest = 0;
  for (const [, size, resident] of readFileSync(`/proc/${pid}/smaps`, 'utf8').matchAll(
    /^Size:\s+(\d+) kB[^]*?^Rss:\s+(\d+) kB/gm,
  )) {
    if (size >= least && size <= most) guest += resident / 1024;
  }
  return { peak, guest };
}

/** Seconds of processor time that a process has used, all its threads. man 5 proc: utime and stime, in hundredths. */
function processorSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Asks for the threads all the time; `late` has how many milliseconds each answer took. */
function asking(client) {
  const late = [];
  let over = false;
  const done = (async () => {
    while (!over) {
      const asked = performance.now();
      await client.request('threads').catch(() => undefined); // there is no machine yet
      late.push(performance.now() - asked);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  return { late, stop: () => ((over = true), done) };
}

/** Everything that reads much: a breakpoint, a stack with variables, the line of a header, a name that nothing has. */
export async function measureSymbols() {
  const client = new DapClient();
  try {
    const begin = performance.now();
    await client.request('threads').catch(() => undefined); // the process has started
    const threads = asking(client);
    const setBreakpoint = (file, line) =>
      client.request('setBreakpoints', { source: { path: path.join('/src', file) }, breakpoints: [{ line }] });
    const peaks = {};
    let first = 0;
    let firstProcessor = 0;
    const attributes = { ...linux, cmdline, memory: `${memory}M`, stopOnEntry: true, console: 'debugConsole' };
    await client.launch({ ...attributes, symbols: [{ file: vmlinux }] }, async () => {
      const { breakpoints } = await setBreakpoint('init/main.c', 950);
      if (!breakpoints[0].verified) throw new Error(`init/main.c: ${breakpoints[0].message}`);
      first = (performance.now() - begin) / 1000;
      firstProcessor = processorSeconds(client.pid);
      peaks['first breakpoint'] = megabytes(client.pid);
    });
    const look = async () => {
      const { stackFrames } = await client.request('stackTrace', { threadId: 1, levels: 50 });
      for (const { id } of stackFrames.slice(0, 6)) {
        const { scopes } = await client.request('scopes', { frameId: id });
        const { variablesReference } = scopes[0];
        await client.request('variables', { variablesReference });
      }
    };
    await client.resume('continue');
    await look();
    const { breakpoints } = await setBreakpoint('include/linux/list.h', 69);
    if (!breakpoints[0].verified) throw new Error(`list.h: ${breakpoints[0].message}`);
    await client.resume('continue');
    await look();
    peaks['line of a header and stack'] = megabytes(client.pid);
    await client.evaluate('no_such_name_anywhere').catch(() => undefined);
    peaks['unknown name'] = megabytes(client.pid);
    await threads.stop();
    const most = Math.max(...Object.values(peaks).map(({ peak }) => peak));
    const each = Object.entries(peaks).map(
      ([what, { peak, guest }]) => `${what} ${peak.toFixed(0)} (guest ${guest.toFixed(0)})`,
    );
    const worst = Math.max(...threads.late).toFixed(0);
    const note = `${each.join(', ')}; first breakpoint set after ${first.toFixed(1)} s (${firstProcessor.toFixed(1)} s of processor time with the start), threads answered in ${worst} ms at most`;
    return { value: most, first, worst, peaks, note };
  } finally {
    await client.close();
  }
}
