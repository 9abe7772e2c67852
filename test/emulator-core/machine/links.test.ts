// Messages to and from outside, and history: what the interface of machine/links.ts says.
import assert from 'node:assert/strict';
import type { VirtioDevice, VirtioHost } from '../../../emulator-core/devices/virtio/virtioDevice';
import { TestMachine } from '../testMachine';

/** Adds up what it is told and sends the sum. */
class Adder implements VirtioDevice<number> {
  readonly name = 'adder0';
  readonly type = 'rng';
  readonly features = {};
  readonly queues = [];
  readonly config = new Uint8Array(0);
  sum = 0;
  losses = 0;
  constructor(private readonly host: VirtioHost) {}
  notify(): void {}
  receive(message: Uint8Array): void {
    this.sum += message[0];
    this.host.send(Uint8Array.of(this.sum));
  }
  linkLost(): void {
    this.losses++;
    this.host.send(Uint8Array.of(0));
  }
  reset(): void {
    this.sum = 0;
  }
  save = () => this.sum;
  restore(sum: number): void {
    this.sum = sum;
  }
  describe = () => [];
}

describe('links', () => {
  function start(record = true) {
    const log: string[] = [];
    let adder!: Adder;
    const t = new TestMachine(
      {
        virtio: [{ bus: 'pci', create: (host) => (adder = new Adder(host)) }],
        kernel: { name: 'test', kernel: Uint8Array.of(0xeb, 0xfe), protocol: 'raw', cmdline: '', modules: [] },
      },
      {
        send: (device, [value]) => log.push(`${device} ${value}`),
        linksLost: () => log.push('lost'),
      },
    );
    const { machine } = t;
    if (record) machine.record();
    machine.run(1000);
    return { machine, adder, log, t };
  }

  it('deliver when the guest runs', () => {
    const { machine, adder, log } = start();
    machine.receive('adder0', Uint8Array.of(5));
    assert.equal(adder.sum, 0);
    machine.run(10);
    assert.equal(adder.sum, 5);
    assert.deepEqual(log, ['adder0 5']);
  });

  it('repeat what came, and do not send again, when history is replayed', () => {
    const { machine, adder, log } = start();
    machine.receive('adder0', Uint8Array.of(5));
    machine.run(1000);
    machine.receive('adder0', Uint8Array.of(6));
    machine.run(1000);
    machine.receive('adder0', Uint8Array.of(7));
    machine.run(0);
    assert.deepEqual(log, ['adder0 5', 'adder0 11', 'adder0 18']);
    machine.history.restoreBefore(0);
    assert.equal(adder.sum, 0);
    machine.run(1500);
    assert.equal(adder.sum, 5);
    // What comes now belongs behind all that came before.
    machine.receive('adder0', Uint8Array.of(100));
    machine.run(1000);
    assert.equal(adder.sum, 11);
    machine.run(600);
    assert.equal(adder.sum, 118);
    assert.deepEqual(log, ['adder0 5', 'adder0 11', 'adder0 18', 'adder0 118']);
  });

  it('are lost when the past is changed: the device is told after those outside', () => {
    const { machine, adder, log } = start();
    machine.receive('adder0', Uint8Array.of(5));
    machine.run(1000);
    machine.history.restoreBefore(0);
    machine.receive('adder0', Uint8Array.of(9));
    machine.change(() => undefined);
    machine.run(3000);
    assert.deepEqual(log, ['adder0 5', 'lost', 'adder0 0']);
    assert.deepEqual([adder.sum, adder.losses], [0, 1]);
    // The loss is history itself.
    machine.history.restoreBefore(0);
    machine.run(4000);
    assert.equal(adder.losses, 2);
    assert.deepEqual(log, ['adder0 5', 'lost', 'adder0 0']);
  });

  it('are lost at a reset', () => {
    const { machine, log } = start();
    machine.receive('adder0', Uint8Array.of(5));
    machine.reset();
    machine.run(1000);
    assert.deepEqual(log, ['lost']);
  });

  /** A guest that halts for ever, and is woken at 1 ms and 2 ms of its time. */
  function idler() {
    const kernel = Uint8Array.of(0xfb, 0xf4, 0xeb, 0xfc); // sti; hlt; jmp to sti
    const times: number[] = [];
    class Clocked extends Adder {
      override receive(message: Uint8Array): void {
        super.receive(message);
        times.push(machine.clock.now());
      }
    }
    const create = (host: VirtioHost): Adder => new Clocked(host);
    const { machine } = new TestMachine({
      virtio: [{ bus: 'pci', create }],
      kernel: { name: 'test', kernel, protocol: 'raw', cmdline: '', modules: [] },
    });
    machine.platform.events.register('test', (now) => {
      if (now < 2e6) machine.platform.events.at('test', 2e6);
    });
    machine.platform.events.at('test', 1e6);
    return { machine, times };
  }

  it('are waited for by a guest that idles, no longer than it is told to', () => {
    const { machine } = idler();
    assert.equal(machine.run(1000, undefined, 300_000), 'ahead');
    assert.equal(machine.clock.now(), 300_000);
    assert.equal(machine.run(1000, undefined, 200_000), 'ahead');
    assert.equal(machine.clock.now(), 300_000, 'time does not go back');
    machine.run(1000);
    assert.ok(machine.clock.now() >= 2e6);
  });

  it('come again at the same time of an idle guest, in which no instruction passes', () => {
    const { machine, times } = idler();
    machine.record();
    machine.run(1000, undefined, 100_000);
    const icount = machine.core.retired;
    for (const until of [300_000, 1_500_000, 1_700_000]) {
      machine.receive('adder0', Uint8Array.of(1));
      machine.run(1000, undefined, until);
    }
    assert.deepEqual(times, [100_000, 300_000, 1_500_000]);
    assert.equal(machine.core.retired, icount, 'no instruction in between');
    machine.history.restoreBefore(0);
    machine.run(1000);
    assert.deepEqual(times.slice(3), times.slice(0, 3));
  });

  it('begin history anew before what came takes too much memory', () => {
    const { machine, adder, t } = start();
    const megabyte = new Uint8Array(1 << 20).fill(1);
    for (let i = 0; i < 70; i++) {
      machine.receive('adder0', megabyte);
      machine.run(10);
    }
    assert.equal(adder.sum, 70);
    assert.ok(machine.history.start > 0);
    assert.match(t.notes.join('\n'), /history begins anew at instruction \d+: it held 64 MB/);
    const at = machine.core.retired;
    machine.history.restoreBefore(at);
    assert.equal(adder.sum, 65);
    machine.run(at - machine.core.retired + 10);
    assert.equal(adder.sum, 70);
  });

  it('keep nothing without history', () => {
    const { machine, adder } = start(false);
    for (let i = 0; i < 100; i++) {
      machine.receive('adder0', new Uint8Array(1 << 20).fill(1));
      machine.run(10);
    }
    assert.equal(adder.sum, 100);
  });
});
