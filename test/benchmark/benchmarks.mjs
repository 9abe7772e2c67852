/**
 * What npm run bench measures: through the command line and over DAP, as users see it. One entry, one number; `goal` is
 * what the project wants to hold (compare it on a machine of your own only where it is a ratio).
 */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { DapClient } from '../../scripts/lib/dapClient.mjs';
import { root } from '../../scripts/lib/project.mjs';
import { median, withFolder } from './compare.mjs';
import { comparisons } from './comparisons.mjs';
import { loopLength, makeLoopGuest } from './loopGuest.mjs';
import { mix } from './mix.mjs';
import { qemuSeconds, qemuVersion } from './qemuPeer.mjs';
import { atInit, cmdline, hasLinux, linux, linuxMissing, memory, qemuBootSeconds } from './linuxBoot.mjs';
import { hasVmlinux, measureSymbols, vmlinuxMissing } from './linuxSymbols.mjs';
import { makeReferenceLoop } from './referenceLoop.mjs';
import { runStatistics } from './runStatistics.mjs';

const hello = path.join(root, 'samples/hello-guest/hello.elf');
const memtest = ['/boot/memtest86+x64.bin', '/boot/mt86+x64'].find((file) => existsSync(file));
const seconds = async (body) => {
  const start = performance.now();
  await body();
  return (performance.now() - start) / 1000;
};

/** A loop guest as a file for the time of `body`. */
async function withLoopGuest(rounds, body, what) {
  return withFolder((folder) => {
    const file = path.join(folder, 'loop.elf');
    const { elf, loop } = makeLoopGuest(rounds, what);
    writeFileSync(file, elf);
    return body(file, loop);
  });
}

/** A DAP session on a kernel for the time of `body`, stopped on entry. */
async function withSession(configuration, body) {
  const client = new DapClient();
  try {
    await client.launch({ memory: '64M', stopOnEntry: true, console: 'debugConsole', ...configuration });
    return await body(client);
  } finally {
    await client.close();
  }
}

/** Million instructions a second of the hand-made interpreter, best of three. */
function referenceSpeed() {
  const run = makeReferenceLoop();
  const rounds = 10_000_000;
  run(rounds);
  const times = [1, 2, 3].map(() => {
    const start = performance.now();
    if (run(rounds) !== 1n + 3n * BigInt(rounds)) throw new Error('the reference loop computes something else');
    return performance.now() - start;
  });
  return (rounds * loopLength) / Math.min(...times) / 1000;
}

/** QEMU runs this many times the rounds, so that its run is long beside its start. */
const peerFactor = 10;

/** Instructions a second of one part of the mix, here and under QEMU's TCG, where that is installed, in one go. */
async function measurePart(part) {
  const flags = part.features.flatMap((feature) => ['--cpu.features', `+${feature}`]);
  const loop = (rounds, run) => withLoopGuest(rounds, run, part);
  const here = await loop(part.rounds, (file) => runStatistics([file, '--memory', '64M', ...flags]));
  const millions = (count) => `${count >= 100 ? count.toFixed(0) : count.toFixed(1)} million instructions a second`;
  const version = await qemuVersion();
  if (!version) return { speed: here.mips, note: `${millions(here.mips)}; the peer, qemu-system-x86_64, is missing` };
  // The start of QEMU and its firmware is in both runs.
  const start = median([await loop(1, qemuSeconds), await loop(1, qemuSeconds), await loop(1, qemuSeconds)]);
  const time = (await loop(part.rounds * peerFactor, qemuSeconds)) - start;
  const peer = (here.instructions * peerFactor) / time / 1e6;
  return {
    value: here.mips / peer,
    speed: here.mips,
    peer,
    note: `${millions(here.mips)}, QEMU ${version} ${millions(peer)}`,
  };
}

/** The flags that boot the cloud kernel. */
const linuxFlags = ['--initrd', linux.initrd, '--cmdline', cmdline];
/** Its boot until it says `text`. */
const linuxBoot = (text) => [linux.kernel, ...linuxFlags, '--memory', `${memory}M`, '--until', text];

/** A guest's run whose peak resident memory is looked at, beyond its RAM. */
const runMemory = (name, says, megabytes, args, missing = () => undefined) => ({
  name: `run-memory-${name}`,
  says: `the peak resident memory of \`ringside run\` without guest RAM, ${says} in ${megabytes} MB`,
  unit: 'MB beyond guest RAM',
  goal: { atMost: 250 },
  async measure() {
    if (missing()) return { skipped: missing() };
    const peaks = [];
    for (let run = 0; run < 3; run++) peaks.push((await runStatistics([...args, '--memory', `${megabytes}M`])).peak);
    const peak = median(peaks) / 2 ** 20;
    return { value: peak - megabytes, note: `${peak.toFixed(0)} MB in all` };
  },
});

/** Bytes of memory that a process had at most. */
function peakMemory(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)[1]) * 1024;
}

export const benchmarks = [
  {
    name: 'interpreter-loop',
    says: 'the loop of 8 instructions by `ringside run --compile off`, as a part of the hand-made WebAssembly interpreter',
    unit: 'of the reference speed',
    goal: { atLeast: 0.55 },
    async measure() {
      const rounds = 50_000_000;
      const reference = referenceSpeed();
      const flags = ['--memory', '64M', '--compile', 'off'];
      const speed = await withLoopGuest(rounds, async (file) => (await runStatistics([file, ...flags])).mips);
      const note = `${speed.toFixed(0)} against ${reference.toFixed(0)} million instructions a second`;
      return { value: speed / reference, speed, reference, note };
    },
  },
  ...comparisons,
  ...mix.map((part) => ({
    name: `mix-${part.name}`,
    says: `${part.says}, beside QEMU's TCG`,
    unit: "of QEMU TCG's speed",
    measure: () => measurePart(part),
  })),
  {
    name: 'memtest86-boot',
    says: "memtest86+ from Debian's package in 16 MB, its first 500 million instructions",
    unit: 'million instructions / s',
    async measure() {
      if (!memtest) return { skipped: "no memtest86+ (Debian: 'sudo apt-get install memtest86+')" };
      const cmdline = 'console=ttyS0,115200';
      const done = await runStatistics([memtest, '--memory', '16M', '--cmdline', cmdline, '--max-icount', '500M']);
      return { value: done.mips, note: `${done.instructions} instructions in ${done.seconds.toFixed(2)} s` };
    },
  },
  {
    name: 'linux-boot',
    says: "Debian's cloud kernel from the bzImage to its first program, wall time beside QEMU's TCG",
    unit: "times QEMU TCG's time",
    goal: { atMost: 1.5 },
    async measure() {
      if (!hasLinux()) return { skipped: linuxMissing };
      const done = await runStatistics(linuxBoot(atInit));
      const took = `${(done.instructions / 1e6).toFixed(0)} million instructions in ${done.seconds.toFixed(1)} s`;
      const version = await qemuVersion();
      if (!version) return { seconds: done.seconds, note: `${took}; the peer, qemu-system-x86_64, is missing` };
      const peer = median([await qemuBootSeconds(), await qemuBootSeconds(), await qemuBootSeconds()]);
      const note = `${took}, QEMU ${version} ${peer.toFixed(1)} s`;
      return { value: done.seconds / peer, seconds: done.seconds, instructions: done.instructions, peer, note };
    },
  },
  {
    name: 'compile-stall',
    says: 'the longest piece of compiling that the guest and the debugger wait for, of boots of the cloud kernel: its own processor time, and, in other boots, the time that went by',
    unit: 'ms of processor time',
    goal: { atMost: 10 },
    async measure() {
      if (!hasLinux()) return { skipped: linuxMissing };
      const flags = linuxBoot(atInit);
      const [own, elapsed] = [[], []];
      for (let run = 0; run < 6; run++) {
        own.push((await runStatistics(flags, { ownTime: true })).engine.longestCompileMilliseconds);
        elapsed.push((await runStatistics(flags)).engine.longestCompileMilliseconds);
      }
      const list = (times) => times.toSorted((a, b) => a - b).map((time) => time.toFixed(1)).join(' '); // prettier-ignore
      return {
        value: Math.max(...own),
        ...{ own, elapsed },
        note: `${list(own)}; with waiting for processors ${list(elapsed)}`,
      };
    },
  },
  {
    name: 'linux-restore',
    says: '`restore` of a snapshot of the booted cloud kernel with 256 MB in a session, median of 5; and a start with `from`',
    unit: 'ms',
    goal: { atMost: 1000 },
    async measure() {
      if (!hasLinux()) return { skipped: linuxMissing };
      return withFolder(async (temporary) => {
        const file = path.join(temporary, 'booted.snapshot');
        const flags = [...linuxFlags, '--memory', `${memory}M`, '--save', file, '--until', 'ringside:'];
        await runStatistics([linux.kernel, ...flags]);
        const attributes = { ...linux, cmdline, memory: `${memory}M` };
        const times = [];
        await withSession(attributes, async (client) => {
          for (let run = 0; run < 5; run++)
            times.push(1000 * (await seconds(() => client.evaluate(`restore ${file}`))));
        });
        const start = await seconds(() => withSession({ ...attributes, from: file }, async () => {}));
        const size = `${(statSync(file).size / 2 ** 20).toFixed(1)} MiB`;
        return {
          value: median(times),
          times,
          note: `a file of ${size}; from F5 with "from" to the stop, with symbols, and the end of the session ${start.toFixed(1)} s`,
        };
      });
    },
  },
  {
    name: 'linux-symbols',
    says: "the adapter's peak resident memory, guest RAM and history included, in a session with the cloud kernel's vmlinux of 590 MB",
    unit: 'MB',
    goal: { atMost: 500 },
    async measure() {
      if (process.platform !== 'linux') return { skipped: 'reads /proc, which only Linux has' };
      if (!hasLinux()) return { skipped: linuxMissing };
      return hasVmlinux() ? measureSymbols() : { skipped: vmlinuxMissing };
    },
  },
  {
    name: 'f5-to-entry',
    says: 'adapter process started to `stopped` on entry, the sample guest, median of 5',
    unit: 'ms',
    goal: { atMost: 500 },
    async measure() {
      const times = [];
      for (let run = 0; run < 5; run++) {
        const start = performance.now();
        await withSession({ kernel: hello }, async () => times.push(performance.now() - start));
      }
      return { value: median(times), times };
    },
  },
  {
    name: 'single-steps',
    says: 'stepIn with instruction granularity until `stopped`',
    unit: 'steps / s',
    goal: { atLeast: 2000 },
    measure: () =>
      withLoopGuest(2 ** 40, (kernel) =>
        withSession({ kernel }, async (client) => {
          const step = () => client.resume('stepIn', { granularity: 'instruction' });
          for (let i = 0; i < 200; i++) await step();
          const count = 4000;
          const time = await seconds(async () => {
            for (let i = 0; i < count; i++) await step();
          });
          return { value: count / time };
        }),
      ),
  },
  {
    name: 'false-condition',
    says: 'an instruction breakpoint in the loop whose condition holds in the last round only',
    unit: 'evaluations / s',
    goal: { atLeast: 5_000_000 },
    measure() {
      const rounds = 5_000_000;
      const last = 1 + 3 * (rounds - 1); // rax in the last round: the stop there shows that every one was looked at
      return withLoopGuest(rounds, (kernel, loop) =>
        withSession({ kernel }, async (client) => {
          const { breakpoints } = await client.request('setInstructionBreakpoints', {
            breakpoints: [{ instructionReference: `0x${loop.toString(16)}`, condition: `$rax == ${last}` }],
          });
          if (!breakpoints[0].verified) throw new Error(breakpoints[0].message ?? 'the breakpoint was not verified');
          const time = await seconds(() => client.resume('continue', {}, 300));
          const rax = (await client.scope('Registers')).find((register) => register.name === 'rax');
          if (Number.parseInt(rax.value, 16) !== last) throw new Error(`stopped with rax ${rax.value}`);
          return { value: rounds / time };
        }),
      );
    },
  },
  {
    name: 'console-output',
    says: 'a guest that prints 1.28 MB as fast as it can, as `ringside/console` events at the client; how late `threads` is answered meanwhile',
    unit: 'MB / s',
    async measure() {
      const kernel = path.join(root, 'test/guests/serialFlood.bin');
      const attributes = { kernel, boot: 'multiboot', memory: '16M', console: 'terminal', __attachConsole: true };
      return withSession(attributes, async (client) => {
        let size = 0;
        client.on('ringside/console', ({ data }) => (size += Buffer.byteLength(data, 'base64')));
        await client.request('ringside/consoleAttach');
        const ended = client.next('terminated').then(() => true);
        const late = [];
        const time = await seconds(async () => {
          await client.request('continue', { threadId: 1 });
          for (let over = false; !over;) {
            const asked = performance.now();
            await client.request('threads');
            late.push(performance.now() - asked);
            over = await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 5, false))]);
          }
        });
        if (size !== 1_280_000) throw new Error(`1280000 bytes printed, ${size} arrived`);
        const note = `threads answered in ${median(late).toFixed(1)} ms, at most ${Math.max(...late).toFixed(1)} ms, ${late.length} times`;
        return { value: size / time / 1e6, note };
      });
    },
  },
  {
    name: 'trace-exits',
    says: 'what `ringside run --exits` costs over the same run without it, the cloud kernel up to its 20,000th exit or so',
    unit: '% of the time without',
    goal: { atMost: 10 },
    async measure() {
      if (!hasLinux()) return { skipped: linuxMissing };
      const flags = linuxBoot('Mount-cache');
      const [without, traced] = [[], []];
      const start = performance.now();
      let exits;
      // In turns, three times, but not for more than a minute and a half.
      do {
        without.push((await runStatistics(flags)).seconds);
        const done = await runStatistics([...flags, '--exits']);
        traced.push(done.seconds);
        exits = Object.values(done.exits).reduce((total, count) => total + count);
      } while (traced.length < 3 && performance.now() - start < 60_000);
      const [base, cost] = [median(without), median(traced)];
      const note = `${exits} exits: ${cost.toFixed(1)} s against ${base.toFixed(1)} s, ${traced.length} times`;
      return { value: Math.max(0, (100 * (cost - base)) / base), note };
    },
  },
  // RAM that a guest has not touched is not resident: small guests, so that little of it hides what is looked for.
  runMemory('hello', 'the sample guest', 4, [hello]),
  runMemory(
    'linux',
    'the cloud kernel to its first program',
    96,
    [linux.kernel, ...linuxFlags, '--until', atInit],
    () => (hasLinux() ? undefined : linuxMissing),
  ),
  {
    name: 'adapter-memory',
    says: "the adapter's peak resident memory without guest RAM, after the sample guest ran with a recording",
    unit: 'MB beyond guest RAM',
    goal: { atMost: 200 },
    async measure() {
      if (process.platform !== 'linux') return { skipped: 'reads /proc/PID/status, which only Linux has' };
      const megabytes = 64;
      return withSession({ kernel: hello, memory: `${megabytes}M`, record: true }, async (client) => {
        const { threads } = await client.request('threads');
        const ended = client.next('terminated');
        let peak = peakMemory(client.pid);
        const timer = setInterval(() => {
          try {
            peak = Math.max(peak, peakMemory(client.pid));
          } catch {
            clearInterval(timer); // the process has ended
          }
        }, 50);
        await client.request('continue', { threadId: threads[0].id });
        await ended;
        clearInterval(timer);
        return { value: peak / 2 ** 20 - megabytes };
      });
    },
  },
];
