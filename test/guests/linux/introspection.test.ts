/** What `info tasks`, `info modules` and `info dmesg` read in the memory of Debian's cloud kernel is what its own tools print. */
import assert from 'node:assert/strict';
import { withAdapter } from '../../debug-adapter/stdio/adapter';
import { HANG, cloudSample } from './kernel';
import { GuestTerminal, withTerminal } from './terminal';

const LIMIT = 4e9;

describe("a stopped Linux guest's own lists", function () {
  this.timeout(HANG);
  const sample = cloudSample();

  it('are as /proc and dmesg have them', () =>
    withAdapter(async (a) => {
      const cmdline = 'console=ttyS0 cryptomgr.notests quiet';
      await a.configure({ ...sample, cmdline, cpus: 2, memory: '256M', stopOnEntry: false, ...withTerminal });
      const terminal = await GuestTerminal.attach(a);
      await a.configurationDoneRequest();
      await terminal.prompt(LIMIT);
      /** Lines that a command of the guest's prints. */
      const shell = async (command: string): Promise<string[]> => {
        await terminal.enter(`echo b''egin; ${command}; echo e''nd`);
        await terminal.expect(/^end$/m, LIMIT);
        await terminal.prompt(LIMIT);
        const { text } = terminal;
        return text.slice(text.lastIndexOf('\nbegin\n') + 7, text.lastIndexOf('\nend\n')).split('\n');
      };
      await shell('modprobe virtio_net; sleep 1000 & :');
      const stats = await shell('cat /proc/[0-9]*/task/[0-9]*/stat');
      const modules = await shell('cat /proc/modules');
      const messages = await shell('dmesg');
      const stop = await a.stop_(() => a.pauseRequest({ threadId: 1 }), HANG);
      assert.equal(stop.reason, 'pause');

      // proc(5): pid, comm in parentheses (of workers with what they work on), state, ppid.
      const tasks = new Map<number, string[]>();
      const listing = await a.repl('info tasks');
      for (const line of listing.split('\n').slice(1)) {
        const [, pid, tgid, parent, state, name] = /^ *(\d+) +(\d+) +(\d+) +(\S) +\d* +0xffff\w{12} +(.*)$/.exec(line)!;
        tasks.set(Number(pid), [tgid, parent, state, name.replace(/^\[(.*)\]$/, '$1')]);
      }
      assert.ok(stats.length > 30, `${stats.length} tasks`);
      const compared: string[] = [];
      for (const line of stats) {
        const [, pid, comm, state, parent] = /^(\d+) \((.*)\) (\S) (\d+) /.exec(line)!;
        if (comm === 'cat' || comm.startsWith('kworker')) continue; // they come and go
        const found = tasks.get(Number(pid));
        // Any may have been woken meanwhile.
        const seen = found?.[2] === 'R' ? 'R' : state;
        assert.deepEqual(found, [pid, parent, seen, comm.slice(0, 15)], line);
        compared.push(comm);
      }
      for (const name of ['kthreadd', 'ksoftirqd/1', 'sleep'])
        assert.ok(compared.includes(name), `${name} in ${compared.join()}`);
      assert.ok(tasks.size <= stats.length + 2, `${tasks.size} tasks, ${stats.length} of them in /proc`);

      // name size references users state address (fs/proc, kernel/module/procfs.c).
      const listed = (await a.repl('info modules'))
        .split('\n')
        .slice(1)
        .map((line) => {
          const [name, size, state, base, references, users = ''] = line.trim().split(/ +/);
          return `${name} ${size} ${references} ${users ? `${users},` : '-'} ${state} ${base}`;
        });
      assert.ok(listed.some((line) => /^net_failover \d+ 1 virtio_net,/.test(line)));
      assert.deepEqual(
        listed,
        modules.map((line) => line.replace(/ \([A-Z]+\)$/, '')),
      );

      const told = (await a.repl('info dmesg')).split('\n');
      assert.ok(messages.length > 100, `${messages.length} lines`);
      assert.deepEqual(told.slice(0, messages.length), messages);
    }));
});
