/** Runs every guest of guests.json, and the samples, on the embedded VMM and compares with what the reference printed. */
import assert from 'node:assert';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { runGuest, type RunOptions } from '../../debug-adapter/cli/runGuest';
import { createEmbeddedTarget } from '../../debug-adapter/engines/embedded';
import type { BootChoice, EmbeddedLaunch } from '../../debug-adapter/engines/launch';
import table from './guests.json';

interface Guest {
  name: string;
  about: string;
  file: string;
  boot: string;
  console: string[];
  end: string;
  value?: number;
  status: number;
  note?: string;
}

const MEGABYTE = 2 ** 20;

async function launch(file: string, boot: BootChoice, more: Partial<EmbeddedLaunch> = {}): Promise<EmbeddedLaunch> {
  const bytes = new Uint8Array(await readFile(file));
  return {
    kernel: { name: path.basename(file), bytes },
    modules: [],
    cmdline: '',
    boot,
    disks: [],
    memory: 16 * MEGABYTE,
    cpus: 1,
    mode: 'bare',
    cpu: { vendor: 'intel', features: [] },
    exits: [],
    record: true,
    stopOnEntry: false,
    debugExit: true,
    ...more,
  };
}

async function run(machine: EmbeddedLaunch, options: RunOptions) {
  let text = '';
  const notes: string[] = [];
  const decoder = new TextDecoder();
  const outcome = await runGuest(
    { createTarget: () => createEmbeddedTarget(machine) },
    {
      ...options,
      onConsole: (data) => (text += decoder.decode(data, { stream: true })),
      onNote: (note) => notes.push(note),
    },
  );
  return { outcome, text: text.replace(/\r/g, ''), notes };
}

describe('guests', () => {
  for (const guest of table.guests as Guest[]) {
    it(`${guest.name}: ${guest.about}`, async () => {
      const machine = await launch(path.join(__dirname, guest.file), guest.boot as BootChoice);
      const maxIcount = guest.end === 'limit' ? 2e6 : 100e6;
      const { outcome, text, notes } = await run(machine, { maxIcount });
      assert.strictEqual(text, guest.console.join('\n'));
      assert.strictEqual(
        outcome.end.kind,
        guest.end,
        JSON.stringify(outcome.end, (_key, value) => String(value)),
      );
      assert.strictEqual('value' in outcome.end ? outcome.end.value : undefined, guest.value);
      assert.strictEqual(outcome.status, guest.status);
      if (guest.note)
        assert.ok(
          notes.some((note) => note.includes(guest.note!)),
          notes.join('\n'),
        );
      else assert.deepStrictEqual(notes, []);
      if (guest.end === 'limit') assert.strictEqual(outcome.icount, maxIcount);
    });
  }
});

describe('samples', () => {
  const samples = path.join(__dirname, '../../samples');
  const hello = path.join(samples, 'hello-guest/hello.elf');

  for (const boot of ['pvh', 'multiboot'] as const) {
    it(`hello-guest by ${boot}`, async () => {
      const machine = await launch(hello, boot, { cmdline: 'from the test' });
      const { outcome, text, notes } = await run(machine, { maxIcount: 100e6 });
      assert.match(
        text,
        boot === 'pvh' ? /booted by PVH, command line 'from the test'/ : /booted by multiboot.*from the test'/,
      );
      assert.match(text, /^msr: LSTAR 0xffffffff81000000, as written$/m);
      assert.match(text, /^paging: 0xffff800000000000 says 'written at one address, read at another'$/m);
      assert.match(text, /^paging: a write there faults: page fault at 0xffff800000000000$/m);
      assert.match(text, /^mmio: nobody at 0xfeb00000, which reads 0xffffffff$/m);
      assert.match(text, /^apic: id 0, /m);
      // KVM_HC_VAPIC_POLL_IRQ on a machine that offers no hypercalls: -KVM_ENOSYS.
      assert.match(text, /^vmcall: answered, but knows no such hypercall \(-1000\)$/m);
      assert.match(text, /^recursion: 10! = 3628800$/m);
      assert.match(text, /^task: total 101$/m);
      assert.match(text, /^timer: slept 6 ticks\nhello-guest: done\n$/m);
      assert.deepStrictEqual(outcome.end, { kind: 'debug exit', value: 0 });
      assert.deepStrictEqual(notes, []);
    });
  }

  it('hello-guest with an exception that it does not expect', async () => {
    const { outcome, text } = await run(await launch(hello, 'auto', { cmdline: 'crash' }), { maxIcount: 100e6 });
    assert.match(text, /^hello-guest: exception 6 \(invalid opcode\), error code 0x0$/m);
    assert.deepStrictEqual(outcome.end, { kind: 'debug exit', value: 7 });
  });

  it('hello-guest without isa-debug-exit powers off through ACPI', async () => {
    const { outcome } = await run(await launch(hello, 'auto', { debugExit: false }), { maxIcount: 100e6 });
    assert.deepStrictEqual(outcome.end, { kind: 'power off' });
  });

  it('boot-sector prints, reads keys and ends', async () => {
    const machine = await launch(path.join(samples, 'boot-sector/boot.bin'), 'bios');
    const { outcome, text } = await run(machine, {
      maxIcount: 100e6,
      onStart: (target) => target.consoleInput(new TextEncoder().encode('aq')),
    });
    assert.match(
      text,
      /Hello from the boot sector\.\nPress a key, q to quit: a\nPress a key, q to quit: q\nGoodbye\.\n/,
    );
    assert.deepStrictEqual(outcome.end, { kind: 'debug exit', value: 0 });
  });
});
