/** Files that are damaged, of another machine, or made to do harm: each is refused with the reason, and the machine stays as it was. */
import assert from 'node:assert/strict';
import { deflateSync, inflateSync } from 'node:zlib';
import { zlib as nodeZlib } from '../../../debug-adapter/node/zlib';
import type { MachineOptions } from '../../../emulator-core/machine';
import { PREAMBLE_BYTES, TRAILER_BYTES, preamble, trailer } from '../../../emulator-core/snapshot/format';
import { SnapshotError } from '../../../emulator-core/snapshot/snapshotError';
import { Disk } from '../../../emulator-core/disk/disk';
import { memoryImage, openImage } from '../../../emulator-core/disk/image';
import { HELLO, Run } from '../guestRun';
import { build, changed, load, parts, save, type Part } from './files';

function make(options: Partial<MachineOptions> = {}): Run {
  const disk = new Disk(openImage(memoryImage('d', new Uint8Array(16384))), 'snapshot');
  return new Run(HELLO, 'multiboot', { memory: 8 << 20, cpus: 2, guest: 'kvm', disks: [disk], ...options });
}

/** What the sections of a file expand to; undefined when they don't, or its ends are wrong. */
function expanded(file: Uint8Array): Buffer | undefined {
  if (Buffer.compare(file.subarray(-TRAILER_BYTES), trailer(file.length - TRAILER_BYTES)) !== 0) return undefined;
  try {
    return inflateSync(file.subarray(PREAMBLE_BYTES, -TRAILER_BYTES));
  } catch {
    return undefined;
  }
}

/* eslint-disable @typescript-eslint/no-explicit-any -- states and headers are wrong in any way here */
describe('bad snapshots', () => {
  let good: Uint8Array;
  before(async () => {
    const run = make().to(20_000);
    run.machine.user.type(new TextEncoder().encode('abc'));
    good = await save(run.machine);
  });

  /** `file` is refused with a message that has all of `texts`, and the machine is as before. */
  async function refused(file: Uint8Array, ...texts: (string | RegExp)[]): Promise<void> {
    const run = make().to(5000);
    const before = run.state;
    for (const zlib of [undefined, nodeZlib]) {
      const error: Error = await load(run.machine, file, 'x.snapshot', zlib).then(
        () => assert.fail(`${texts.join(', ')}: was taken`),
        (e: Error) => e,
      );
      assert.ok(error instanceof SnapshotError, error.stack);
      for (const text of texts) {
        if (typeof text === 'string') assert.ok(error.message.includes(text), error.message);
        else assert.match(error.message, text);
      }
      assert.equal(run.state, before);
    }
  }

  it('are not taken for good ones', async () => {
    assert.deepEqual(await load(make().machine, build(parts(good))), []);
    assert.deepEqual(await load(make().machine, build(parts(good)), 'x.snapshot', nodeZlib), []);
  });

  it('that are no snapshots, cut off or longer', async () => {
    await refused(new Uint8Array(0), "'x.snapshot', offset 0x0: expected 'RINGSNAP'");
    await refused(new Uint8Array(4096).fill(1), "offset 0x0: expected 'RINGSNAP'");
    await refused(good.slice(0, 15), 'the file is cut off or damaged');
    await refused(good.slice(0, good.length - 1), "expected 'RINGDONE' at the end: the file is cut off or damaged");
    await refused(good.slice(0, 1000), "expected 'RINGDONE'");
    const longer = new Uint8Array(good.length + 5);
    longer.set(good);
    await refused(longer, "expected 'RINGDONE'");
    const shorter = [...good.slice(0, 500), ...good.slice(600)];
    await refused(Uint8Array.from(shorter), `expected a file of ${good.length} bytes, it has ${good.length - 100}`);
  });

  it('of another version', async () => {
    const newer = good.slice();
    newer[8] = 2;
    await refused(newer, 'offset 0x8: expected version 1 of the format, got 2: a newer Ringside has written it');
    await refused(
      changed(good, 'HEAD', (header) => void header.state++),
      'its state has version 3, expected 2',
    );
    await refused(
      changed(good, 'HEAD', (header) => void header.state--),
      'an older Ringside',
    );
  });

  it('with any byte wrong', async () => {
    const step = Math.max(1, Math.floor(good.length / 40));
    let tried = 0;
    for (let at = 16; at < good.length; at += step) {
      const damaged = good.slice();
      damaged[at] ^= 0x10;
      // Compressed in another way, it may be the same: a run of zeros copied from elsewhere.
      if (expanded(damaged)?.equals(expanded(good)!)) continue;
      tried++;
      await refused(damaged, "'x.snapshot'");
    }
    assert.ok(tried >= 35, `${tried} tried`);
  });

  it('whose compressed contents go on for ever', async () => {
    const raw = Buffer.concat([Buffer.from('HEAD'), Buffer.alloc(4), Buffer.alloc(40 << 20)]);
    raw.writeUInt32LE(40 << 20, 4);
    const body = deflateSync(raw);
    const file = Buffer.concat([preamble(), body, trailer(16 + body.length)]);
    await refused(new Uint8Array(file), 'expected at most 1048576 bytes in a section HEAD, got 41943040');
  });

  it('with sections missing, twice, unknown, or in another order', async () => {
    const all = parts(good);
    const without = (name: string): Part[] => all.filter((part) => part.name !== name);
    await refused(build(without('HEAD')), "offset 0x0 of what it expands to: expected a section HEAD, got 'STAT'");
    await refused(build(without('STAT')), 'expected a section STAT, got');
    await refused(build([...all.slice(0, 2), ...all.slice(1)]), "got 'STAT'");
    const ram = all.filter(({ name }) => name === 'RAM_');
    await refused(build([...without('RAM_'), ...[...ram].reverse()]), 'expected pages from');
    await refused(build([...all.slice(0, -1), ram[0]]), 'expected pages from');
    const long = ram[0].contents.subarray(0, 8 + 4000);
    await refused(build([...without('RAM_'), { name: 'RAM_', contents: long }]), 'expected pages from 0 to 2047');
    const far = ram[0].contents.slice(0, 8 + 4096);
    new DataView(far.buffer).setBigUint64(0, 2048n, true);
    await refused(build([...without('RAM_'), { name: 'RAM_', contents: far }]), 'got 2048 to 2048');
    new DataView(far.buffer).setBigUint64(0, 2n ** 64n - 1n, true);
    await refused(build([...without('RAM_'), { name: 'RAM_', contents: far }]), 'expected pages from');
  });

  it('with blocks that no disk has', async () => {
    const all = parts(good);
    const disk = (number: number, size: number, first: bigint, count: bigint, bytes = 0): Uint8Array => {
      const contents = new Uint8Array(24 + bytes);
      const view = new DataView(contents.buffer);
      view.setUint32(0, number, true);
      view.setUint32(4, size, true);
      view.setBigUint64(8, first, true);
      view.setBigUint64(16, count, true);
      return build([...all.slice(0, 2), { name: 'DISK', contents }, ...all.slice(2)]);
    };
    await refused(disk(2, 4096, 0n, 1n), 'expected a disk below 2, got 2');
    await refused(disk(1, 512, 0n, 1n), 'expected blocks of 4096 bytes, got 512');
    await refused(disk(1, 4096, 4n, 1n), 'block 4 of a disk of 16384 bytes');
    await refused(disk(1, 4096, 0n, 2n ** 40n), 'of a disk of 16384 bytes');
    await refused(disk(1, 4096, 0n, 0n), 'no whole blocks');
    await refused(disk(1, 4096, 0n, 2n, 4096), 'expected 2 blocks, got 4096 bytes');
    await refused(disk(1, 4096, 0n, 1n, 5), 'expected 1 blocks, got 5 bytes');
  });

  it('of another machine, with the attribute and both values', async () => {
    const cases: [Partial<MachineOptions>, string][] = [
      [{ memory: 16 << 20 }, 'memory: the snapshot was taken with 16M, this machine has 8M'],
      [{ cpus: 1 }, 'cpus: the snapshot was taken with 1, this machine has 2'],
      [{ guest: undefined }, 'mode: the snapshot was taken with "bare", this machine has "kvm"'],
      [{ model: 'x86-64-v2' }, 'cpu.'],
      [{ features: ['-avx2'] }, 'cpu.features: the snapshot was taken without avx2, unlike this machine'],
      [{ features: ['+la57'] }, 'cpu.'],
      [{ debugExit: false }, 'devices: the snapshot was taken without debugExit'],
      [{ disks: [] }, 'disks: the snapshot was taken with 0 disks, this machine has 1 disks'],
      [
        { disks: [new Disk(openImage(memoryImage('d', new Uint8Array(8192))), 'snapshot')] },
        'disks[0].file: the snapshot was taken with 8192 bytes, this machine has 16384 bytes',
      ],
      [
        { disks: [new Disk(openImage(memoryImage('d', new Uint8Array(16384))), 'readonly')] },
        'disks[0].access: the snapshot was taken with "readonly", this machine has "snapshot" or "write"',
      ],
    ];
    for (const [options, message] of cases) await refused(await save(make(options).machine), message);
    const raw = new Run(HELLO, 'raw', { memory: 8 << 20, cpus: 2, guest: 'kvm', disks: [new Disk(openImage(memoryImage('d', new Uint8Array(16384))), 'snapshot')] }); // prettier-ignore
    await refused(await save(raw.machine), 'boot: the snapshot was taken with "raw", this machine has "multiboot"');
  });

  it('of other files are taken, with a remark', async () => {
    const kernel = (cmdline: string, extra: number): Partial<MachineOptions> => {
      const options = (make().machine as any).options as MachineOptions;
      const bytes = new Uint8Array([...options.kernel.kernel, ...new Uint8Array(extra)]);
      return { kernel: { ...options.kernel, kernel: bytes, cmdline } };
    };
    assert.deepEqual(await load(make(kernel('', 0)).machine, good), []);
    const [file, line] = await load(make(kernel('quiet', 1)).machine, good);
    assert.match(file, /^kernel: the snapshot was taken with another file/);
    assert.match(line, /^cmdline: the snapshot was taken with "", not "quiet"/);
    const image = new Uint8Array(16384);
    image[0] = 1;
    const remarks = await load(
      make({ disks: [new Disk(openImage(memoryImage('d', image)), 'snapshot')] }).machine,
      good,
    );
    assert.match(remarks[0], /^disks\[0\].file: the image has changed/);
  });

  it('with a state that does not fit', async () => {
    const cases: [(state: any) => void, string | RegExp][] = [
      [(s) => delete s.clock, 'state.clock: is missing'],
      [(s) => (s.more = 1), 'state.more: there is no such member'],
      [(s) => (s.retired = -1), 'state.retired: expected a number of instructions'],
      [(s) => (s.retired = 2 ** 53), 'state.retired'],
      [(s) => (s.retired = NaN), 'state.retired: expected a whole number, got NaN'],
      [(s) => (s.scheduler.turn = 2), 'state.scheduler.turn: expected a vCPU'],
      [(s) => s.vcpus.pop(), 'state.vcpus: expected 2 elements, got a list of 1'],
      [(s) => (s.vcpus[1].activity = 'asleep'), 'state.vcpus[1].activity: expected one of active, halted'],
      [(s) => (s.vcpus[1].bytes = new Uint8Array(10)), 'state.vcpus[1].bytes: expected 4096 elements of Uint8Array'],
      [(s) => (s.vcpus[0].pending = { vector: 999 }), 'state.vcpus[0].pending: expected a vector'],
      [(s) => (s.vcpus[0].pending = 'x'), 'state.vcpus[0].pending'],
      [(s) => (s.vcpus[0].msrs[0] = [1]), 'state.vcpus[0].msrs[0]: expected 2 elements'],
      [(s) => (s.ept = s.ept.slice(1)), 'bytes are no whole tables'],
      [
        (s) => new DataView(s.ept.buffer).setUint32(0, 0xfff00007, true),
        'the EPT PML4E at offset 0x0 refers to no table',
      ],
      [(s) => (s.ept[1] = 0x1000 >> 8), /the EPT PML4E at offset 0x0 refers to no table/],
      [(s) => (s.monitors[0].line = 8 << 20), 'state.monitors'],
      [
        (s) => (s.platform.events = [{ name: 'pit', ns: 'x' }]),
        'state.platform.events[0].ns: expected a finite number',
      ],
      [
        (s) => (s.platform.events = [{ name: 'nobody', ns: 1 }]),
        "its state can't be taken up: event 'nobody' has no handler",
      ],
      [(s) => (s.platform.devices.pit.channels = []), 'state.platform.devices.pit.channels: expected 3 elements'],
      [(s) => (s.delivery.window = [7]), 'state.delivery'],
      [(s) => (s.vmm.log.next = 1e300), 'state.vmm'],
      [(s) => (s.exits[0].seq = 0), 'state.exits: not the newest ones'],
      [(s) => (s.exits[0].rip = 5), 'state.exits[0].rip: expected a bigint, got 5'],
    ];
    for (const [change, message] of cases)
      await refused(
        changed(good, 'STAT', (state) => void change(state)),
        message,
      );
  });

  it('whose EPT leads out of guest memory', async () => {
    const leads = (low: number): Uint8Array =>
      changed(good, 'STAT', (state) => {
        // Every leaf and table of the last level: 2 MiB pages have bit 7 set.
        const view = new DataView(state.ept.buffer);
        for (let at = 0; at < state.ept.length; at += 8) {
          if (view.getUint32(at, true) & 0x80) return void view.setUint32(at, low, true);
        }
      });
    await refused(leads(0x00000087), 'maps no guest memory');
    await refused(leads(0xffe00087), 'maps no guest memory');
  });

  it('with any numbers at all in the state: taken or not, the machine neither hangs nor fails otherwise', async function () {
    this.timeout(240_000);
    let random = 7;
    const next = (below: number): number => (random = (random * 48271) % 0x7fffffff) % below;
    const odd = [0, 1, -1, 255, 65535, 2 ** 31, -(2 ** 31), 2 ** 32, 2 ** 40, 2 ** 52, -(2 ** 52), 1e300, -1e300, 0.5];
    /** Places of numbers in a tree. */
    function numbers(value: any, found: [any, string][] = []): [any, string][] {
      for (const [key, each] of Object.entries(value)) {
        if (typeof each === 'number') found.push([value, key]);
        else if (typeof each === 'object' && each !== null && !ArrayBuffer.isView(each)) numbers(each, found);
      }
      return found;
    }
    const run = make();
    let taken = 0;
    for (let round = 0; round < 150; round++) {
      const file = changed(good, 'STAT', (state) => {
        const places = numbers({ ...state, exits: [] });
        for (let n = 0; n < 4; n++) {
          const [holder, key] = places[next(places.length)];
          holder[key] = odd[next(odd.length)];
        }
      });
      try {
        await load(run.machine, file);
        taken++;
      } catch (error) {
        assert.ok(error instanceof SnapshotError, (error as Error).stack);
        continue;
      }
      for (let i = 0; i < 20 && !run.machine.end; i++) run.machine.run(1000);
      run.machine.platform.describe();
    }
    assert.ok(taken > 30, `${taken}`);
  });
});
