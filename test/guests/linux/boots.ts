/**
 * Boots every kernel of samples/linux through the debug adapter, as its launch.json says, types at its console, and powers it off:
 *   node --require tsx/cjs test/guests/linux/boots.ts [PART,...] [TEXT]
 * A line for each boot; goes on after a failure; the last line is `N passed, N failed, N skipped`.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { substituteVariables } from '../../../debug-adapter/cli/configFile';
import { readConfiguration } from '../../dap/configuration';
import { Adapter, root } from '../../debug-adapter/stdio/adapter';
import { MAKE, sampleFile } from './kernel';
import { GuestTerminal, withTerminal } from './terminal';

const sample = path.join(root, 'samples/linux');
const launchJson = readFileSync(path.join(sample, '.vscode/launch.json'), 'utf8');

interface Boot {
  /** Part of samples/linux/make.mjs. */
  part: string;
  /** Name in launch.json. */
  configuration: string;
  attributes?: { cpus?: number; mode?: 'bare' | 'kvm'; linuxEntry?: '16-bit' | '32-bit'; disks?: { file: string }[] };
  /** What `uname -m` says. */
  machine: 'x86_64' | 'i686';
  /** Instructions by which it must be at its prompt: at least twice what it takes. */
  limit: number;
  /** What else is tried at the prompt. */
  also?: { what: string; use(terminal: GuestTerminal, limit: number, a: Adapter): Promise<unknown> };
}

const DISK = sampleFile('cloud/vmlinuz');

/** The disk as the BIOS describes it by INT 13h function 48h, and as the driver finds it: in sectors of 512 bytes. */
const edd: Boot['also'] = {
  what: 'EDD',
  async use(terminal, limit) {
    const sectors = Math.ceil(statSync(DISK).size / 512);
    await terminal.enter('modprobe edd; cat /sys/firmware/edd/int13_dev80/sectors /sys/block/vda/size');
    await terminal.expect(new RegExp(`^${sectors}\\n${sectors}$`, 'm'), limit);
  },
};

/** One notch of the wheel away from the user as an event of evdev. Linux, input-event-codes.h: EV_REL 2, REL_WHEEL 8. */
const mouse: Boot['also'] = {
  what: 'PS/2 mouse',
  async use(terminal, limit, a) {
    const device = "/dev/input/$(sed -n '/PS.2.*Mouse/,/^$/s/.*\\(event[0-9]*\\).*/\\1/p' /proc/bus/input/devices)";
    await terminal.enter(`head -c 24 ${device} | hexdump -e '12/2 "%d " "\\n"' & sleep 1; echo $((6 * 111))`);
    await terminal.expect(/^666$/m, limit);
    await a.request('ringside/pointer', { wheel: -1 });
    await terminal.expect(/ 2 8 1 0 *$/m, limit);
  },
};

const cloud: Boot = { part: 'cloud', configuration: 'Cloud kernel to a shell', machine: 'x86_64', limit: 5e9 };
const generic: Boot = { part: 'generic', configuration: 'Generic kernel (amd64)', machine: 'x86_64', limit: 15e9 };
const pae: Boot = { part: '686-pae', configuration: '32-bit kernel (686-pae)', machine: 'i686', limit: 10e9 };

/** A boot in both modes with so many vCPUs. */
const smp = (boot: Boot): Boot[] =>
  (['bare', 'kvm'] as const).flatMap((mode) => [1, 2, 4].map((cpus) => ({ ...boot, attributes: { mode, cpus } })));

const boots: Boot[] = [
  ...smp(cloud),
  { ...cloud, attributes: { linuxEntry: '16-bit', disks: [{ file: DISK }] }, also: edd },
  { part: 'vmlinux', configuration: 'Cloud kernel as vmlinux by PVH', machine: 'x86_64', limit: 5e9 },
  { ...generic, also: mouse },
  { ...generic, attributes: { cpus: 4 } },
  { ...generic, attributes: { cpus: 4, mode: 'kvm' } },
  { ...generic, attributes: { linuxEntry: '32-bit' } },
  { ...generic, attributes: { linuxEntry: '16-bit' } },
  ...smp(pae),
  { part: 'disk', configuration: 'Debian with systemd on a disk', machine: 'x86_64', limit: 15e9 },
];

/** Uses the shell of the initramfs. */
async function useShell(terminal: GuestTerminal, boot: Boot, limit: number): Promise<void> {
  await terminal.enter('uname -m; nproc; echo $((6 * 7))');
  await terminal.expect(new RegExp(`^${boot.machine}\\n${boot.attributes?.cpus ?? 1}\\n42$`, 'm'), limit);
}

/** Logs in and asks systemd how it is. */
async function useSystemd(terminal: GuestTerminal, boot: Boot, limit: number): Promise<void> {
  await terminal.enter('root');
  await terminal.expect(/^root@ringside:~# /m, limit);
  await terminal.enter('systemctl is-system-running --wait; uname -m');
  await terminal.expect(new RegExp(`^running\\n${boot.machine}$`, 'm'), limit);
}

const billions = (icount: number): string => `${(icount / 1e9).toFixed(2)}e9`;

/** Where the processors are, when a boot did not go as it should. */
async function whereabouts(a: Adapter): Promise<string> {
  try {
    await a.stop_(() => a.pauseRequest({ threadId: 1 })).catch(() => undefined);
    const { threads } = (await a.threadsRequest()).body;
    const places = threads.map(async ({ id }) => {
      const { stackFrames } = (await a.stackTraceRequest({ threadId: id, levels: 5 })).body;
      const names = stackFrames.map(({ name }) => name).join(' < ');
      return `vCPU ${id - 1}: rip ${stackFrames[0]?.instructionPointerReference}: ${names}`;
    });
    return (await Promise.all(places)).join('\n');
  } catch (error) {
    return `(no stack: ${(error as Error).message})`;
  }
}

/** Runs one boot; what its line says. @throws Error that says what went wrong and where the guest is */
async function run(boot: Boot): Promise<string> {
  const attributes = substituteVariables(readConfiguration(launchJson, boot.configuration), {
    workspaceFolder: sample,
    userHome: '',
    env: {},
  });
  const a = Adapter.start();
  try {
    const launch = { ...attributes, ...boot.attributes, ...withTerminal };
    await a.configure(launch);
    const terminal = await GuestTerminal.attach(a);
    const icount = async (): Promise<number> => (await a.request('ringside/exitCounters', {})).icount;
    try {
      await a.configurationDoneRequest();
      const disk = boot.part === 'disk';
      await (disk ? terminal.expect(/^ringside login: /m, boot.limit) : terminal.prompt(boot.limit));
      const prompt = await icount();
      await (disk ? useSystemd : useShell)(terminal, boot, 2 * boot.limit);
      await boot.also?.use(terminal, 2 * boot.limit, a);
      const status = await terminal.end('poweroff');
      if (status !== 0) throw new Error(`exit status ${status}`);
      return `${billions(prompt)} instructions to the prompt, ${billions(await icount())} to power-off`;
    } catch (error) {
      const said = a.output('console').trim().split('\n').slice(-3).join('\n');
      throw new Error(`${(error as Error).message}\n${await whereabouts(a)}\n${said}`);
    }
  } finally {
    await a.close().catch(() => undefined);
  }
}

function title({ part, attributes: { mode = 'bare', cpus = 1, linuxEntry } = {}, also }: Boot): string {
  const more = [linuxEntry && `${linuxEntry} entry`, also?.what].filter(Boolean).join(', ');
  return `${part.padEnd(8)} ${mode} ${cpus} vCPU${cpus > 1 ? 's' : ' '} ${more}`.trimEnd();
}

async function main([parts = '', text = '']: string[]): Promise<void> {
  const count = { passed: 0, failed: 0, skipped: 0 };
  const names = parts ? parts.split(',') : boots.map(({ part }) => part);
  for (const boot of boots.filter((each) => names.includes(each.part) && title(each).includes(text))) {
    const missing = [boot.part, 'cloud'].some((part) => !existsSync(sampleFile(part)));
    if (missing) {
      count.skipped++;
      console.log(`- ${title(boot)}  skipped: '${MAKE} --only ${boot.part}' makes its files`);
      continue;
    }
    const since = Date.now();
    const seconds = (): string => `${((Date.now() - since) / 1000).toFixed(0)} s`;
    try {
      const says = await run(boot);
      count.passed++;
      console.log(`✓ ${title(boot)}  ${says}, ${seconds()}`);
    } catch (error) {
      count.failed++;
      console.log(`✗ ${title(boot)}  failed after ${seconds()}: ${(error as Error).message.replace(/\n/g, '\n    ')}`);
    }
  }
  console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
  // Waits of a boot that failed would keep the process.
  process.exit(count.failed ? 1 : 0);
}

void main(process.argv.slice(2));
