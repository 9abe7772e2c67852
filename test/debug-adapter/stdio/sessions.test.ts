import assert from 'node:assert/strict';
import { Adapter, guest, hello, refusal, spawnAdapter, withAdapter } from './adapter';

describe('sessions over stdio', () => {
  it('pause answers while the guest spins, and the adapter keeps answering', () =>
    withAdapter(async (a) => {
      await a.configure({ kernel: guest('spin'), boot: 'multiboot', stopOnEntry: false });
      const output = a.event('output', (event) => event.body.category === 'stdout');
      await a.configurationDoneRequest();
      await output;
      assert.deepEqual(
        (await a.threadsRequest()).body.threads.map(({ name }) => name),
        ['vCPU 0'],
      );
      assert.match(await refusal(a.variablesRequest({ variablesReference: 1 })), /running/);
      assert.match(await refusal(a.continueRequest({ threadId: 1 })), /running/);
      const times: number[] = [];
      for (let i = 0; i < 5; i++) {
        const since = performance.now();
        const stop = await a.stop_(() => a.pauseRequest({ threadId: 1 }));
        times.push(performance.now() - since);
        assert.equal(stop.reason, 'pause');
        const before = await a.icount();
        await a.continueRequest({ threadId: 1 });
        await a.stop_(() => a.pauseRequest({ threadId: 1 }));
        assert.ok((await a.icount()) >= before);
        await a.continueRequest({ threadId: 1 });
      }
      // The best of five: what a busy test machine adds is not the adapter's.
      assert.ok(Math.min(...times) < 50, `pause took ${times.map((time) => time.toFixed(0)).join(', ')} ms`);
    }));

  it('restart begins anew, from a stop, from a running guest and from one that has ended', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', 306));
      await a.go();
      const icount = await a.icount();
      const stop = await a.stop_(() => a.request('restart', {}));
      assert.equal(stop.reason, 'entry');
      assert.equal(await a.icount(), 0);
      await a.go();
      assert.equal(await a.icount(), icount);
      await a.breakAt('main.c');
      assert.equal(await a.finish(), 0);
      await a.stop_(() => a.request('restart', {}));
      assert.equal(await a.icount(), 0);
      assert.equal((await a.frames())[0].name, 'multiboot_start');
      assert.equal(await a.finish(), 0);
      assert.equal(a.console.match(/hello-guest: done/g)?.length, 2);
    }));

  it('restart of a running guest', () =>
    withAdapter(async (a) => {
      await a.begin({ kernel: guest('spin'), boot: 'multiboot' });
      await a.continueRequest({ threadId: 1 });
      const stop = await a.stop_(() => a.request('restart', {}));
      assert.equal(stop.reason, 'entry');
      assert.equal(await a.icount(), 0);
    }));

  it('terminate ends a running guest, once', () =>
    withAdapter(async (a) => {
      await a.configure({ kernel: guest('spin'), boot: 'multiboot', stopOnEntry: false });
      await a.configurationDoneRequest();
      const terminated = a.event('terminated');
      await a.terminateRequest();
      await terminated;
      assert.match(await refusal(a.continueRequest({ threadId: 1 })), /ended/);
      assert.equal(a.events.filter(({ event }) => event === 'terminated').length, 1);
    }));

  it('without stopOnEntry it runs to its end, with the exit code of the guest', () =>
    withAdapter(async (a) => {
      await a.configure({ kernel: guest('debugExit'), boot: 'multiboot', stopOnEntry: false });
      // isa-debug-exit: (42 << 1) | 1, as QEMU's exit status.
      assert.equal(await a.end(() => a.configurationDoneRequest()), 85);
      assert.match(a.output('console'), /debug-exit port with value 0x2a after \d+ instructions/);
      assert.match(await refusal(a.stackTraceRequest({ threadId: 1 })), /ended/);
    }));

  it('the serial console takes what is typed', () =>
    withAdapter(async (a) => {
      await a.begin();
      assert.equal(
        (await a.request('ringside/consoleInput', { data: Buffer.from('hi').toString('base64') })).accepted,
        true,
      );
      const { data } = await a.request('ringside/consoleAttach', {});
      assert.equal(data, '');
      const chunk = a.event('ringside/console');
      await a.finish();
      await chunk;
      const text = a.events
        .filter(({ event }) => event === 'ringside/console')
        .map(({ body }) => Buffer.from(body.data, 'base64').toString());
      assert.match(text.join(''), /hello-guest: done/);
    }));

  it('a note tells of an instruction that has no row', () =>
    withAdapter(async (a) => {
      await a.configure({ kernel: guest('noRow'), boot: 'multiboot', stopOnEntry: false });
      await a.end(() => a.configurationDoneRequest());
      assert.equal(a.output('console').match(/unimplemented instruction at 0x[0-9a-f]+: ([0-9a-f]{2} )+/g)?.length, 1);
    }));

  it('several sessions at once on one server, each with a machine of its own', async () => {
    const server = spawnAdapter('--server=0');
    try {
      const port = await new Promise<number>((resolve, reject) => {
        server.stderr.on('data', (data: Buffer) => {
          const found = /127\.0\.0\.1:(\d+)/.exec(data.toString());
          if (found) resolve(Number(found[1]));
        });
        server.once('exit', () => reject(new Error('the server ended')));
      });
      const [one, two, three] = await Promise.all([1, 2, 3].map(() => Adapter.connectTo(port)));
      await Promise.all([
        one.begin({}, () => one.breakAt('main.c', 306)),
        two.begin({ cmdline: 'crash' }, () => two.breakAt('main.c', 302)),
        three
          .configure({ kernel: guest('spin'), boot: 'multiboot', stopOnEntry: false })
          .then(() => three.configurationDoneRequest()),
      ]);
      await Promise.all([one.go(), two.go()]);
      assert.equal(await one.line(), 306);
      assert.equal(await two.line(), 302);
      assert.equal(await two.finish(), 15);
      await two.close();
      assert.equal(await one.line(), 306);
      // A client that vanishes takes only its own machine with it.
      await three.stop_(() => three.pauseRequest({ threadId: 1 }));
      await three.close();
      assert.equal(await one.finish(), 0);
      await one.close();
      const again = await Adapter.connectTo(port);
      assert.equal((await again.begin({ kernel: hello })).reason, 'entry');
      await again.close();
    } finally {
      server.kill();
    }
  });
});
