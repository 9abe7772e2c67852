/**
 * What real guests execute: boots them, and writes the rows that none of them reached to docs/instruction-coverage.md.
 *   node --require tsx/cjs test/coverage/guests.ts
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { runGuest } from '../../debug-adapter/cli/runGuest';
import { createEmbeddedTarget } from '../../debug-adapter/engines/embedded';
import type { BootChoice } from '../../debug-adapter/engines/launch';
import { INSTRUCTIONS, type Instruction } from '../../emulator-core/x86/instructions';
import { GRUB_MODULES, makeGrubDisk } from '../dap/grubDisk';
import { record } from './record';
import { rowsNotExecuted } from './report';

interface Guest {
  name: string;
  file: string;
  boot: BootChoice;
  memory: number;
  cmdline?: string;
  /** Ends the run when the console has shown it, or after so many instructions. */
  until?: string;
  limit?: number;
  input?: string;
}

const root = path.join(__dirname, '../..');
const MEGABYTE = 2 ** 20;
const MAX_INSTRUCTIONS = 2e9;

function guests(folder: string): Guest[] {
  const samples = path.join(root, 'samples');
  const list: Guest[] = [
    { name: 'samples/hello-guest', file: path.join(samples, 'hello-guest/hello.elf'), boot: 'pvh', memory: 16 },
    {
      name: 'samples/boot-sector',
      file: path.join(samples, 'boot-sector/boot.bin'),
      boot: 'bios',
      memory: 16,
      input: 'aq',
    },
    {
      name: 'memtest86+ (Debian package), its first tests',
      file: '/boot/memtest86+x64.bin',
      boot: 'linux',
      memory: 16,
      cmdline: 'console=ttyS0,115200',
      limit: 3e8,
    },
  ];
  if (existsSync(path.join(GRUB_MODULES, 'boot.img'))) {
    const file = makeGrubDisk(folder);
    list.push({
      name: "GRUB (Debian packages), to its prompt's first command",
      file,
      boot: 'bios',
      memory: 64,
      until: 'grub> ',
    });
  }
  return list.filter(({ file }) => existsSync(file));
}

async function run(guest: Guest): Promise<void> {
  const machine = {
    kernel: { name: path.basename(guest.file), bytes: new Uint8Array(readFileSync(guest.file)) },
    modules: [],
    cmdline: guest.cmdline ?? '',
    boot: guest.boot,
    disks: [],
    memory: guest.memory * MEGABYTE,
    cpus: 1,
    mode: 'bare' as const,
    cpu: { vendor: 'intel' as const, features: [] },
    exits: [],
    record: false,
    stopOnEntry: false,
    debugExit: true,
  };
  const outcome = await runGuest(
    { createTarget: () => createEmbeddedTarget(machine) },
    {
      until: guest.until,
      maxIcount: guest.limit ?? MAX_INSTRUCTIONS,
      onStart: (target) => {
        if (guest.input) void target.consoleInput(new TextEncoder().encode(guest.input));
      },
    },
  );
  console.log(`${guest.name}: ${outcome.icount} instructions, ended by '${outcome.end.kind}'`);
}

/** Mnemonics by manual title, in the table's order. */
function byTitle(rows: readonly Instruction[]): Map<string, string[]> {
  const titles = new Map<string, string[]>();
  for (const row of rows) {
    const list = titles.get(row.manual) ?? [];
    const name = row.operands ? `${row.mnemonic} \`${row.operands.source}\`` : row.mnemonic;
    titles.set(row.manual, [...list, name.replaceAll('|', '\\|')]);
  }
  return titles;
}

function page(ran: readonly Guest[], left: readonly Instruction[]): string {
  const lines = [...byTitle(left)].map(([title, names]) => `| ${title} | ${names.join(', ')} |`);
  return `# Rows of the instruction table that real guests do not reach

Written by \`node --require tsx/cjs test/coverage/guests.ts\`, which boots:

${ran.map(({ name }) => `- ${name}`).join('\n')}

They execute ${INSTRUCTIONS.length - left.length} of ${INSTRUCTIONS.length} rows. The rows below are executed by tests alone; that every row
is executed by some test, \`npm test\` checks (\`test/coverage/report.ts\`).

| Manual | Rows (operands where a mnemonic has several) |
|---|---|
${lines.join('\n')}
`;
}

async function main(): Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), 'ringside-coverage-'));
  try {
    const executed = record();
    const list = guests(folder);
    for (const guest of list) await run(guest);
    writeFileSync(path.join(root, 'docs/instruction-coverage.md'), page(list, rowsNotExecuted(executed())));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

void main();
