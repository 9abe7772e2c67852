/** A machine goes on from a snapshot in another machine as it would have itself. */
import assert from 'node:assert/strict';
import { VirtioBlk } from '../../../emulator-core/devices/virtio/blk';
import { VirtioRng } from '../../../emulator-core/devices/virtio/rng';
import { Disk } from '../../../emulator-core/disk/disk';
import { memoryImage, openImage } from '../../../emulator-core/disk/image';
import type { MachineOptions } from '../../../emulator-core/machine';
import { decodePlain } from '../../../emulator-core/snapshot/plainData';
import { HELLO, Run, subjects } from '../guestRun';
import { TestMachine } from '../testMachine';
import { load, parts, save } from './files';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** Where the sections of two files differ. */
function differences(a: Uint8Array, b: Uint8Array): string[] {
  const [left, right] = [parts(a), parts(b)];
  assert.equal(left.length, right.length);
  return left.flatMap(({ name, contents }, i) => {
    const other = right[i].contents;
    if (Buffer.from(contents).equals(Buffer.from(other))) return [];
    return name === 'STAT' ? treeDifferences(decode(contents), decode(other), name) : [`${name} ${i}`];
  });
}

const decode = (bytes: Uint8Array): unknown => decodePlain(bytes, { name: 'f', offset: 0 });

function treeDifferences(a: unknown, b: unknown, path: string): string[] {
  if (typeof a !== 'object' || a === null || typeof b !== 'object' || b === null) return Object.is(a, b) ? [] : [path];
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  const member = (of: object, name: string): unknown => (of as Record<string, unknown>)[name];
  return names.flatMap((name) => treeDifferences(member(a, name), member(b, name), `${path}.${name}`));
}

/** Both runs to the same counts, compared at each. */
function together(a: Run, b: Run, counts: readonly number[]): void {
  assert.equal(b.state, a.state);
  for (const count of counts) {
    const to = a.icount + count;
    assert.equal(b.to(to).state, a.to(to).state, `at ${to}`);
  }
}

describe('snapshots of guests', () => {
  for (const { name, file, boot } of subjects) {
    it(`${name} ends the same from a snapshot taken anywhere`, async () => {
      const memory = name === 'hello-guest' ? 16 << 20 : 4 << 20;
      const make = (): Run => new Run(file, boot, { memory });
      const end = make().to(200_000).icount;
      for (const at of [0, Math.floor(end / 3), Math.floor((2 * end) / 3)]) {
        const first = make().to(at);
        if (first.machine.end) continue;
        const taken = await save(first.machine);
        const second = make();
        assert.deepEqual(await load(second.machine, taken), []);
        assert.equal(second.icount, at);
        first.text = '';
        together(first, second, [1, 1000, 200_000]);
        assert.equal(second.text, first.text);
      }
    });
  }

  /** Two vCPUs in mode kvm with a disk, keys in the UART's queue, and timers that are under way. */
  function busy(image = new Uint8Array(64 << 10).fill(7)): { run: Run; disk: Disk } {
    const disk = new Disk(openImage(memoryImage('d', image)), 'snapshot');
    const options: Partial<MachineOptions> = {
      memory: 16 << 20,
      cpus: 2,
      guest: 'kvm',
      disks: [disk],
      virtio: [
        { bus: 'pci', create: (host) => new VirtioRng(0, host) },
        { bus: 'pci', create: (host) => new VirtioBlk({ index: 0, disk, note: () => {} }, host) },
      ],
    };
    return { run: new Run(HELLO, 'multiboot', options), disk };
  }

  it('with two vCPUs, mode kvm, a disk that was written to, and devices in the middle of something', async () => {
    const { run, disk } = busy();
    run.to(20_000);
    const { machine } = run;
    disk.writeBytes(4096, Uint8Array.of(1, 2, 3));
    disk.zero(8192, 8192);
    machine.user.type(text('keys that nobody has read yet, more than the sixteen bytes of the queue'));
    machine.platform.bus.writePort(0x43, 0x34, 1); // counter 0: mode 2, and half of its count
    machine.platform.bus.writePort(0x40, 0x55, 1);
    machine.platform.apic(0).writeRegister(0x320, 0x20040); // a periodic timer
    machine.platform.apic(0).writeRegister(0x380, 5000);
    assert.ok(machine.platform.events.save().length >= 2);
    const taken = await save(machine);

    const other = busy();
    assert.deepEqual(await load(other.run.machine, taken), []);
    assert.deepEqual(other.disk.readBytes(4095, 6), Uint8Array.of(7, 1, 2, 3, 7, 7));
    assert.deepEqual(other.disk.readBytes(8191, 8194), Uint8Array.of(7, ...new Uint8Array(8192), 7));
    assert.deepEqual(other.run.machine.platform.events.save(), machine.platform.events.save());
    assert.deepEqual(other.run.machine.vmm.log.newest(100), machine.vmm.log.newest(100));
    assert.deepEqual(other.run.machine.vmm.lastExit(0), machine.vmm.lastExit(0));
    together(run, other.run, [1, 999, 20_000, 60_000]);

    // And again from there, so that nothing was lost on the way.
    const third = busy();
    await load(third.run.machine, await save(other.run.machine));
    together(run, third.run, [5000]);
    assert.deepEqual(differences(await save(third.run.machine), await save(run.machine)), [], 'the same file');
  });

  it('keeps blocks of zeros apart from others, in few bytes', async () => {
    const { run, disk } = busy(new Uint8Array(4 << 20).fill(7));
    disk.zero(0, 4 << 20);
    disk.writeBytes(1 << 20, new Uint8Array(300 << 10).fill(9));
    const sections = parts(await save(run.machine)).filter(({ name }) => name === 'DISK');
    // 256 blocks of zeros, 75 with contents in runs of 64, zeros again.
    assert.deepEqual(sections.map(({ contents }) => contents.length - 24), [0, 64 * 4096, 11 * 4096, 0]); // prettier-ignore
    const other = busy(new Uint8Array(4 << 20).fill(7));
    await load(other.run.machine, await save(run.machine));
    assert.deepEqual(other.disk.readBytes(0, 4 << 20), disk.readBytes(0, 4 << 20));
  });

  it('holds no page of zeros', async () => {
    const t = new TestMachine({ memory: 64 << 20 });
    t.machine.memory.ram.fill(0);
    t.write((8 << 20) + 5, [1]);
    t.write((64 << 20) - 1, [2]);
    const pages = parts(await save(t.machine)).filter(({ name }) => name === 'RAM_');
    const first = pages.map(({ contents }) => new DataView(contents.buffer).getBigUint64(0, true));
    assert.deepEqual(first, [BigInt((8 << 20) / 4096), BigInt((64 << 20) / 4096 - 1)]);
    assert.deepEqual(pages.map(({ contents }) => contents.length), [8 + 4096, 8 + 4096]); // prettier-ignore

    const other = new TestMachine({ memory: 64 << 20 });
    other.machine.memory.ram.fill(3);
    await load(other.machine, await save(t.machine));
    assert.ok(Buffer.from(other.machine.memory.ram).equals(Buffer.from(t.machine.memory.ram)));
  });
});

describe('a machine that takes up a snapshot', () => {
  const make = (): Run => new Run(HELLO, 'multiboot', { memory: 16 << 20 });

  it('begins its history there; what was recorded before is gone', async () => {
    const taken = await save(make().to(10_000).machine);
    const run = make();
    const { machine } = run;
    machine.record();
    run.to(30_000);
    machine.user.type(text('abc'));
    run.to(40_000);
    await load(machine, taken);
    assert.equal(run.icount, 10_000);
    assert.equal(machine.history.start, 10_000);
    const straight = make().to(50_000);
    assert.equal(run.to(50_000).state, straight.state, 'the keys belong to another future');
    assert.equal(machine.history.restoreBefore(0), 10_000);
    run.to(25_000);
    assert.equal(run.state, make().to(25_000).state);
  });

  it('prints what comes from there on, also what it has printed before', async () => {
    const first = make().to(20_000);
    const taken = await save(first.machine);
    first.text = '';
    first.to(60_000);
    assert.ok(first.text.length > 0);
    const run = make();
    run.machine.record();
    run.to(60_000);
    run.text = '';
    await load(run.machine, taken);
    run.to(60_000);
    assert.equal(run.text, first.text);
  });

  it('runs the code of the snapshot, not what was decoded before', async () => {
    const other = new TestMachine().enter('64');
    other.run(0x100000, '48ffc0 ebfb', { rax: 0 }, 11); // inc rax; jmp $-3
    const t = new TestMachine().enter('64');
    t.run(0x100000, '48ffc8 ebfb', { rax: 100 }, 21); // dec rax; jmp $-3
    await load(t.machine, await save(other.machine));
    assert.equal(t.get('rax'), 6n);
    t.machine.run(10);
    assert.equal(t.get('rax'), 11n);
  });

  it('resets to what it was built from', async () => {
    const taken = await save(make().to(10_000).machine);
    const run = make();
    await load(run.machine, taken);
    run.machine.reset();
    assert.equal(run.to(30_000).state, make().to(30_000).state);
  });

  it('has not ended, whatever it did before', async () => {
    const taken = await save(make().to(10_000).machine);
    const run = make().to(1_000_000);
    assert.ok(run.machine.end);
    assert.throws(() => run.machine.snapshot(), /the guest has ended/);
    await load(run.machine, taken);
    assert.equal(run.machine.end, undefined);
    assert.equal(run.to(30_000).state, make().to(30_000).state);
  });
});
