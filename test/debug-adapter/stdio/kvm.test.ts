/** Mode kvm through the debugger: what is shown of the interface, and stops at hypercalls. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { refusal, values, withAdapter, type Adapter } from './adapter';

const word = (value: number): string => Buffer.from(Uint32Array.of(value).buffer).toString('hex');
/** WRMSR of a small value, in 16-bit code. */
const writeMsr = (index: number, value: number): string => `66b9 ${word(index)} 66b8 ${word(value)} 6631d2 0f30`;

/**
 * A boot sector in real mode that registers kvmclock at 0x8000, the wall clock at 0x8040, steal time at 0x8080 and PV EOI at 0x80c0,
 * calls KVM_HC_SEND_IPI(2, 0, 0, 0xfd) and KVM_HC_VAPIC_POLL_IRQ, and halts.
 */
const SECTOR = [
  writeMsr(0x4b564d01, 0x8001),
  writeMsr(0x4b564d00, 0x8040),
  writeMsr(0x4b564d03, 0x8081),
  writeMsr(0x4b564d04, 0x80c1),
  `66b8 ${word(10)} 66bb ${word(2)} 6631c9 6631d2 66be ${word(0xfd)} 0f01c1`,
  `66b8 ${word(1)} 0f01c1`,
  'f4 ebfd',
].join('');

describe('mode kvm over stdio', () => {
  let folder: string;
  let kernel: string;
  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'ringside-'));
    kernel = path.join(folder, 'kvm.bin');
    const sector = Buffer.alloc(512);
    Buffer.from(SECTOR.replaceAll(' ', ''), 'hex').copy(sector);
    sector.writeUInt16LE(0xaa55, 510);
    await writeFile(kernel, sector);
  });
  after(() => rm(folder, { recursive: true }));

  const begin = (a: Adapter, attributes: Record<string, unknown> = {}, configure?: () => Promise<unknown>): Promise<unknown> =>
    a.begin({ kernel, boot: 'bios', mode: 'kvm', ...attributes }, configure); // prettier-ignore

  it('stops at a hypercall by name, with its arguments, at its instruction', () =>
    withAdapter(async (a) => {
      await begin(a, {}, async () => {
        const set = await a.breakIn('hypercall:KVM_HC_VAPIC_POLL_IRQ', {
          name: 'hypercall:KVM_HC_SEND_IPI',
          condition: '$rdx == 0 && nr == 10',
        });
        // Before there is a machine nothing can be checked.
        assert.equal(set.length, 2);
      });
      const stop = await a.go();
      assert.equal(stop.reason, 'function breakpoint');
      assert.equal(stop.hitBreakpointIds?.length, 1);
      assert.match(stop.description!, /KVM_HC_SEND_IPI\(ipi_bitmap_low 0x2, ipi_bitmap_high 0x0, min 0x0, icr 0xfd\)$/);
      assert.match(await a.repl('x/1i $pc'), /vmcall/);
      const info = await a.request('exceptionInfo', { threadId: 1 });
      assert.equal(info.exceptionId, 'VMCALL');
      assert.match(info.details.stackTrace, /KVM: handled in the kernel/);
      assert.match(info.details.stackTrace, /Hypercall: KVM_HC_SEND_IPI .*\n {2}ipi_bitmap_low: 0x0000000000000002/);
      assert.match(await a.repl('info hypercalls'), /^ +0 +10 {2}KVM_HC_SEND_IPI\(/m);

      const next = await a.go();
      assert.match(next.description!, /KVM_HC_VAPIC_POLL_IRQ\(\)$/);
      assert.equal(await a.number('$eax'), 1n);
      assert.match(await a.repl('info hypercalls'), /^ +1 +10 {2}KVM_HC_SEND_IPI\(/m);
    }));

  it('shows what the guest has set up, as a scope and in the debug console', () =>
    withAdapter(async (a) => {
      await begin(a, {}, () => a.filters('HLT'));
      let scope = await a.scope('KVM');
      assert.equal(scope.kvmclock, 'off');
      await a.go();
      scope = await a.scope('KVM');
      assert.equal(scope.kvmclock, 'phys:0x8000');
      assert.equal(scope['Wall clock at boot'], 'phys:0x8040');
      assert.equal(scope['Steal time'], 'phys:0x8080');
      assert.equal(scope['PV EOI'], 'phys:0x80c0');
      const variables = await a.children(await a.scopeReference('KVM'));
      const parts = async (name: string): Promise<Record<string, string>> =>
        values(await a.children(variables.find((each) => each.name === name)!.variablesReference));
      const clock = await parts('kvmclock');
      assert.match(clock.version, /^0x00000002 2$/);
      assert.match(clock.flags, /TSC_STABLE$/);
      assert.deepEqual([clock.tsc_to_system_mul, clock.tsc_shift], ['0x80000000 0.5', '0x01 1']);
      assert.match((await parts('Wall clock at boot')).sec, /2026-01-01T00:00:00\.000Z$/);
      assert.match((await parts('Steal time')).preempted, /running$/);
      assert.match((await parts('Features')).KVM_FEATURE_PV_EOI, /^yes bit 6/);
      const text = await a.repl('info kvm');
      assert.match(text, /^kvmclock: phys:0x8000\n {2}version: 0x00000002 {2}2\n/m);
      assert.match(text, /^Poll control: 1/m);
      assert.match(text, /^ {2}KVM_HINTS_REALTIME: no/m);
      assert.match(await a.repl('info msrs'), /MSR_KVM_SYSTEM_TIME_NEW +0x0000000000008001 enabled/);
      assert.match((await a.scope('Last VM exit')).KVM, /^handled in the kernel$/);
    }));

  it('conditions know registers and hypercalls by name; a wrong name gets the nearest one; names are completed', () =>
    withAdapter(async (a) => {
      await begin(a);
      const [wrong] = await a.breakIn('hypercall:KVM_HC_SEND_IPIS');
      assert.equal(wrong.verified, false);
      assert.match(wrong.message!, /no hypercall is called 'KVM_HC_SEND_IPIS'; did you mean KVM_HC_SEND_IPI\?/);
      assert.deepEqual(
        (await a.filters('VMCALL if nr == KVM_HC_VAPIC_POLL_IRQ', 'MSR_WRITE if msr == MSR_KVM_STEAL_TIME')).map(
          (each) => each.verified,
        ),
        [true, true],
      );
      assert.match((await a.go()).description!, /wrmsr MSR_KVM_STEAL_TIME <- 0x8081/);
      assert.match((await a.go()).description!, /KVM_HC_VAPIC_POLL_IRQ/);
      const text = 'hypercall:KVM_HC_S';
      const { targets } = await a.request('completions', { text, column: text.length + 1 });
      assert.deepEqual(
        targets.map((each: { label: string }) => each.label),
        ['KVM_HC_SEND_IPI', 'KVM_HC_SCHED_YIELD'],
      );
    }));

  it("the firmware's own VMCALLs are no hypercalls", () =>
    withAdapter(async (a) => {
      // INT 10h with AX = 1: cursor shape; then VMCALL with EAX = 1.
      const sector = Buffer.alloc(512);
      Buffer.from(`b80100 cd10 66b8${word(1)} 0f01c1 f4 ebfd`.replaceAll(' ', ''), 'hex').copy(sector);
      sector.writeUInt16LE(0xaa55, 510);
      await writeFile(path.join(folder, 'int10.bin'), sector);
      await begin(a, { kernel: path.join(folder, 'int10.bin') }, () => a.filters('VMCALL if $eax == 1'));
      assert.match((await a.go()).description!, /firmware: vmcall rax 0x1 /);
      assert.equal((await a.breakIn('hypercall:KVM_HC_VAPIC_POLL_IRQ'))[0].verified, true);
      const stop = await a.go();
      assert.match(stop.description!, /KVM_HC_VAPIC_POLL_IRQ\(\)/);
      assert.match(await a.repl('info hypercalls'), /^ +0 +1 {2}KVM_HC_VAPIC_POLL_IRQ/m);
    }));

  it('swaps a page out: the access exits, and the guest, which did not ask to be told, goes on', () =>
    withAdapter(async (a) => {
      await begin(a, {}, () => a.filters('HLT'));
      assert.match(await a.repl('kvm swap-out $pc'), /^the page at phys:0x7000 is swapped out$/);
      assert.match(await a.repl('info ept phys:0x7c00'), /not present/);
      await a.filters('EPT_VIOLATION if gpa < 0x8000');
      await a.go();
      const exit = await a.scope('Last VM exit');
      assert.match(exit.Exit, /^EPT_VIOLATION/);
      assert.equal(exit.KVM, 'handled in the kernel');
      await a.filters('VMCALL if $eax == 1');
      assert.match((await a.go()).description!, /VAPIC_POLL_IRQ/);
      assert.match(await refusal(a.repl('kvm swap-out phys:0xfee00000')), /is no RAM, which ends at 0x1000000/);
      assert.match(await refusal(a.repl('kvm')), /expected 'kvm swap-out ADDR'/);
    }));

  it('a plain PC says that it has none of it', () =>
    withAdapter(async (a) => {
      await begin(a, { mode: 'bare' });
      assert.match(await refusal(a.repl('info kvm')), /a plain PC: launch it with "mode": "kvm"/);
      assert.match(await a.repl('info hypercalls'), /no hypercalls/);
      assert.match(await refusal(a.repl('kvm swap-out $pc')), /never swaps: launch it with "mode": "kvm"/);
      const [breakpoint] = await a.breakIn('hypercall:KVM_HC_KICK_CPU');
      assert.match(breakpoint.message!, /offers its guest no hypercalls/);
    }));
});
