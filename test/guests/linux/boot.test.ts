/**
 * Debian's cloud kernel from power-on to a shell and to power-off, debugged on the way: KASLR is on, mode is kvm, no symbol file. The
 * initramfs is that of samples/linux.
 */
import assert from 'node:assert/strict';
import { withAdapter } from '../../debug-adapter/stdio/adapter';
import { HANG, cloudSample } from './kernel';
import { GuestTerminal, withTerminal } from './terminal';

/** Instructions by which the shell must have come: three times what a boot takes. */
const LIMIT = 2e9;
/** Linux, arch/x86/include/uapi/asm/kvm_para.h: MSR_KVM_SYSTEM_TIME_NEW. Bit 0 of the value: enabled; the rest: where the clock is. */
const SYSTEM_TIME = 0x4b564d01;

describe('Linux under the debugger, from F5 to power-off', function () {
  this.timeout(HANG);
  const sample = cloudSample();

  it('stops in the kernel and at an exit, then is a machine with a terminal', () =>
    withAdapter(async (a) => {
      const cmdline = 'console=ttyS0 cryptomgr.notests';
      await a.configure(
        { ...sample, cmdline, mode: 'kvm', memory: '256M', stopOnEntry: false, ...withTerminal },
        async () => {
          await a.breakIn('start_kernel', 'do_sys_openat2');
          await a.filters(`MSR_WRITE if msr == 0x${SYSTEM_TIME.toString(16)}`);
        },
      );
      const terminal = await GuestTerminal.attach(a);
      const go = (action: () => Promise<unknown>) => a.stop_(action, HANG);
      const goOn = () => go(() => a.continueRequest({ threadId: 1 }));

      let stop = await go(() => a.configurationDoneRequest());
      assert.equal(stop.reason, 'function breakpoint');
      assert.equal((await a.frames())[0].name, 'start_kernel');
      assert.match(await a.repl('info kernel'), /KASLR offset: 0x[1-9a-f][0-9a-f]*, found by/);
      const banner = await a.repl('x/s linux_banner');
      assert.match(banner, /Linux version \d+\.\d+\.\d+/);

      // kvmclock_init registers the boot processor's clock.
      stop = await goOn();
      assert.equal(stop.reason, 'exception');
      assert.equal(await a.number('$ecx'), BigInt(SYSTEM_TIME));
      const value = ((await a.number('$rdx')) << 32n) | (await a.number('$eax'));
      assert.equal(value & 1n, 1n);
      const exit = await a.scope('Last VM exit');
      assert.match(exit['Exit reason'], /MSR_WRITE/);
      assert.match(exit.Summary, new RegExp(`^wrmsr .* <- 0x${value.toString(16)}$`));
      assert.ok(
        (await a.stack()).some((frame) => /^kvm/.test(frame)),
        (await a.stack()).join(),
      );
      // Done, the page is the clock's: version, then system time and multiplier (Linux, asm/pvclock-abi.h).
      await a.into('instruction');
      assert.equal((await a.scope('KVM')).kvmclock, `phys:0x${(value & ~1n).toString(16)}`);

      await a.filters();
      stop = await goOn();
      assert.equal(stop.reason, 'function breakpoint');
      assert.equal((await a.frames())[0].name, 'do_sys_openat2');

      await a.breakIn();
      await a.continueRequest({ threadId: 1 });
      await terminal.prompt(LIMIT);
      await terminal.enter('uname -a');
      const [, release] = await terminal.expect(/^Linux ringside (\S+) #1 .* x86_64 GNU\/Linux$/m, LIMIT);
      assert.ok(banner.includes(`Linux version ${release} `), `${release} in ${banner}`);
      await terminal.prompt(LIMIT);
      await terminal.enter('cat /sys/devices/system/clocksource/clocksource0/current_clocksource; tty');
      await terminal.expect(/^kvm-clock\n\/dev\/ttyS0$/m, LIMIT);
      await terminal.prompt(LIMIT);
      // Job control: Ctrl-C ends what runs in the foreground.
      await terminal.enter('sleep 1000');
      await terminal.expect(/sleep 1000\n/, LIMIT);
      await terminal.type('\x03');
      await terminal.expect(/\^C\n+ringside:\S+# /, LIMIT);

      assert.equal(await terminal.end('poweroff -f'), 0);
      assert.match(terminal.text, /reboot: Power down/);
    }));
});
