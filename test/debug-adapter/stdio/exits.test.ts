import assert from 'node:assert/strict';
import { guest, refusal, withAdapter, type Adapter } from './adapter';

/** Stops at a filter and returns what `stopped` and exceptionInfo say. */
async function hit(a: Adapter, ...filters: string[]): Promise<{ name: string; description: string; fields: string }> {
  for (const { verified, message } of await a.filters(...filters)) assert.ok(verified, message);
  const stop = await a.go();
  assert.equal(stop.reason, 'exception');
  const info = await a.request('exceptionInfo', { threadId: 1 });
  assert.equal(info.exceptionId, stop.text);
  return { name: stop.text!, description: info.description, fields: info.details.stackTrace ?? '' };
}

describe('exit filters over stdio', () => {
  it('every exit that hello-guest makes, in its order, with decoded fields', () =>
    withAdapter(async (a) => {
      await a.begin();
      let exit = await hit(a, 'CPUID');
      assert.equal(exit.name, 'CPUID');
      assert.match(exit.description, /^CPUID leaf 0x80000001/i);
      assert.match(await a.repl('x/1i $rip'), /cpuid/);
      const last = await a.scope('Last VM exit');
      assert.match(last.Exit, /^CPUID/);
      assert.equal(last['VM-exit instruction length'], '2');

      exit = await hit(a, 'CR_ACCESS');
      assert.match(exit.fields, /Exit reason: 0x0000001c CR_ACCESS/);
      assert.match(await a.repl('x/1i $rip'), /mov cr[0-4],/);

      exit = await hit(a, 'IO_INSTRUCTION if port == 0x3f8 && write && value == 0x68');
      assert.match(exit.description, /^out 0x3f8 <- 0x68 \(8 bits\)$/);
      assert.match(exit.fields, /Exit qualification: 0x0000000003f80000/);
      assert.equal((await a.stack())[0].split(':')[0], 'out8');
      exit = await hit(a, 'IO_INSTRUCTION if !write');
      assert.match(exit.description, /^in 0x3fd \(8 bits\)$/);

      exit = await hit(a, 'CPUID if leaf == 0x40000000');
      assert.match(exit.description, /^CPUID leaf 0x40000000/i);
      assert.equal(await a.number('$eax'), 0x40000000n);
      await a.next('instruction');
      assert.notEqual(await a.number('$rip'), 0n);

      exit = await hit(a, 'MSR_READ if msr == IA32_EFER');
      assert.equal(exit.name, 'MSR_READ');
      exit = await hit(a, 'MSR_WRITE if msr == IA32_LSTAR');
      assert.match(exit.description, /IA32_LSTAR.*0xffffffff81000000/);
      assert.equal((await a.frames())[0].name, 'write_msr');

      exit = await hit(a, 'EPT_VIOLATION if gpa >= 0xfeb00000 && !write');
      assert.match(exit.description, /^read of gpa 0xfeb00000/);
      assert.match(exit.fields, /Guest-physical address: 0x00000000feb00000/);
      exit = await hit(a, 'EPT_VIOLATION if gpa >= 0xfee00000');
      assert.match(exit.description, /^read of gpa 0xfee00020/);

      exit = await hit(a, 'VMCALL if $rax == 1');
      assert.equal(exit.name, 'VMCALL');
      assert.equal((await a.frames())[0].name, 'hypercall');

      exit = await hit(a, 'HLT');
      assert.equal((await a.frames())[0].name, 'wait_for_interrupt');
      exit = await hit(a, 'EXTERNAL_INTERRUPT');
      assert.equal(exit.name, 'EXTERNAL_INTERRUPT');
      await a.filters();
      assert.equal(await a.finish(), 0);
      assert.match(a.console, /timer: slept 6 ticks\nhello-guest: done\n$/);
    }));

  it('the same exits are counted and listed whether or not they stop', () =>
    withAdapter(async (a) => {
      const count = async (): Promise<string> => {
        await a.breakAt('main.c', 309);
        await a.go();
        const { counters, icount } = await a.request('ringside/exitCounters', {});
        return JSON.stringify([icount, counters.filter(({ count: n }: { count: number }) => n > 0)]);
      };
      await a.begin();
      const plain = await count();
      await a.stop_(() => a.request('restart', {}));
      await a.filters('CPUID', 'VMCALL', 'HLT', 'EPT_VIOLATION');
      let stops = 0;
      for (; ; stops++) if ((await a.go()).reason === 'breakpoint') break;
      assert.equal(stops, 9 + 1 + 6 + 6);
      const { counters, icount } = await a.request('ringside/exitCounters', {});
      assert.equal(JSON.stringify([icount, counters.filter(({ count: n }: { count: number }) => n > 0)]), plain);
    }));

  it('optional exits: only when somebody asks', () =>
    withAdapter(async (a) => {
      await a.begin();
      // CR3 and LSTAR accesses exit because of the filters alone.
      const lstar = await hit(a, 'MSR_READ if msr == IA32_LSTAR');
      assert.match(lstar.description, /IA32_LSTAR/);
      await a.filters();
      await a.finish();
    }));

  it('guest exceptions: #PF with its error code and address', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.filters('#PF'));
      const stop = await a.go();
      assert.equal(stop.reason, 'exception');
      assert.equal(stop.text, '#PF');
      const info = await a.request('exceptionInfo', { threadId: 1 });
      assert.equal(info.exceptionId, '#PF');
      // Present, write, supervisor.
      assert.match(info.description, /vector 14, error code 0x3, linear address 0xffff800000000000/);
      assert.equal((await a.frames())[0].name, 'try_store');
      assert.match(await a.repl('x/1i $rip'), /mov byte|mov \[/);
      // One step leads into the handler.
      await a.into('instruction');
      assert.equal(await a.evaluate('$cr2'), '0xffff800000000000');
      await a.finish();
      assert.match(a.console, /page fault at 0xffff800000000000/);
    }));

  it('guest exceptions with conditions', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.filters('#PF if address == 0xffff800000000000 && error == 3'));
      assert.equal((await a.go()).text, '#PF');
      await a.filters('#PF if error == 2', '#UD');
      assert.equal(await a.finish(), 0);
    }));

  it('an exception that the guest does not expect', () =>
    withAdapter(async (a) => {
      await a.begin({ cmdline: 'crash' }, () => a.filters('#UD'));
      const stop = await a.go();
      assert.equal(stop.text, '#UD');
      assert.deepEqual((await a.stack())[0], 'crash_if_asked:288');
      assert.equal(await a.finish(), 15);
      assert.match(a.console, /exception 6 \(invalid opcode\)/);
    }));

  it("launch.json's exits stop, and stay with the client's own filters", () =>
    withAdapter(async (a) => {
      const stop = await a.begin({ stopOnEntry: false, exits: ['VMCALL'] });
      assert.equal(stop.text, 'VMCALL');
      await a.filters('HLT');
      assert.equal((await a.go()).text, 'HLT');
      await a.stop_(() => a.request('restart', {}));
      assert.equal((await a.frames())[0].name, 'hypercall');
    }));

  it('arming exits in the debug console', () =>
    withAdapter(async (a) => {
      await a.begin();
      assert.match(await a.repl('exits arm CPUID if $rax == 0x80000000'), /stops at CPUID/);
      assert.equal((await a.go()).text, 'CPUID');
      assert.equal(await a.number('$rax'), 0x80000000n);
      assert.match(await a.repl('info filters'), /CPUID if \$rax == 0x80000000/);
      assert.match(await a.repl('exits disarm CPUID'), /no longer/);
      assert.match(await refusal(a.repl('exits arm CPUDI')), /CPUID/);
      assert.equal(await a.finish(), 0);
    }));

  it('wrong names and conditions are refused with what would be right', () =>
    withAdapter(async (a) => {
      await a.begin();
      const [name, condition, field, good] = await a.filters(
        'CPUI',
        'CPUID if leaf ==',
        'CPUID if nonsense == 1',
        'HLT',
      );
      assert.match(name.message ?? '', /CPUI.*did you mean CPUID/);
      assert.equal(condition.verified, false);
      assert.match(field.message ?? '', /nonsense/);
      assert.equal(good.verified, true);
      assert.match(await refusal(a.request('exceptionInfo', { threadId: 1 })), /did not stop/);
    }));

  it('string I/O and its fields', () =>
    withAdapter(async (a) => {
      await a.begin({ kernel: guest('stringIo'), boot: 'multiboot' });
      const exit = await hit(a, 'IO_INSTRUCTION if string');
      assert.match(exit.fields, /String instruction \(bit 4\): 1/);
      await a.filters();
      assert.equal(await a.finish(), 0);
    }));

  it('the views get exits, EPT and page tables', () =>
    withAdapter(async (a) => {
      await a.begin({ stopOnEntry: false, exits: ['VMCALL'] });
      const { exits } = await a.request('ringside/exits', { count: 3 });
      assert.equal(exits.length, 3);
      assert.equal(exits[0].name, 'VMCALL');
      assert.equal(exits[0].symbol?.split('+')[0], 'hypercall');
      const older = (await a.request('ringside/exits', { count: 3, before: exits[2].seq })).exits;
      assert.equal(older[0].seq, exits[2].seq - 1);
      const { fields } = await a.request('ringside/exit', { seq: exits[0].seq });
      assert.ok(fields.length > 5);
      const [root] = (await a.request('ringside/ept', {})).entries;
      assert.equal(root.level, 'EPT PML4E');
      const { entries } = await a.request('ringside/ept', {
        table: { address: root.target, level: 3, base: root.address },
      });
      assert.equal(entries[0].level, 'EPT PDPTE');
      const walk = await a.request('ringside/pageWalk', { gva: '0xffff800000000000' });
      assert.equal(walk.result, '0x10e000');
      const eptWalk = await a.request('ringside/eptWalk', { gpa: '0x10e000' });
      assert.ok(eptWalk.result && !eptWalk.fault);
      assert.ok((await a.request('ringside/vmcs', {})).fields.length === 4);
      assert.ok((await a.request('ringside/devices', {})).fields.length > 3);
      const events = a.events.filter(({ event }) => event === 'ringside/exitsChanged');
      assert.equal(events[events.length - 1].body.newest[0].name, 'VMCALL');
    }));
});
