// Expected values: VIRTIO 1.2, "Split Virtqueues" (descriptor flags, notification suppression, limits that drivers must keep).
import assert from 'node:assert/strict';
import { plainGuestMemory } from '../../../../emulator-core/devices/guestMemory';
import { VirtQueue } from '../../../../emulator-core/devices/virtio/queue';
import { Desc, DriverRing } from './ring';

const SIZE = 8;
const BASE = 0x10000;
const DATA = 0x20000;

function bench(options: { indirect?: boolean; eventIndex?: boolean } = {}) {
  const memory = new Uint8Array(1 << 20);
  const ring = new DriverRing(memory, BASE, SIZE);
  const log = { interrupts: 0, later: 0, broken: '' };
  const queue = new VirtQueue(0, SIZE, {
    memory: plainGuestMemory(memory),
    get active() {
      return log.broken === '';
    },
    indirect: options.indirect ?? true,
    eventIndex: options.eventIndex ?? false,
    interrupt: () => log.interrupts++,
    broken: (reason) => (log.broken ||= reason),
    later: () => log.later++,
  });
  const place = (descriptors = ring.descriptors, driver = ring.available, device = ring.used) => {
    queue.setAddress('descriptors', 0, descriptors);
    queue.setAddress('driver', 0, driver);
    queue.setAddress('device', 0, device);
    return queue.enable();
  };
  return { memory, ring, queue, log, place };
}

function ready(options = {}) {
  const b = bench(options);
  assert.ok(b.place());
  return b;
}

describe('split virtqueue', () => {
  it('gives a chain its readable and its writable buffers, and returns it with the length written', () => {
    const { memory, ring, queue, log } = ready();
    memory.set([1, 2, 3, 4, 5], DATA);
    const head = ring.add({ gpa: DATA, length: 2 }, { gpa: DATA + 3, length: 2 }, { gpa: DATA + 16, length: 3, write: true }, { gpa: DATA + 32, length: 5, write: true }); // prettier-ignore
    const chain = queue.pop()!;
    assert.deepEqual([chain.readableLength, chain.writableLength], [4, 8]);
    assert.deepEqual([...chain.read(0, 100)], [1, 2, 4, 5]);
    assert.deepEqual([...chain.read(1, 2)], [2, 4]);
    assert.deepEqual([...chain.read(4, 1)], []);
    assert.equal(chain.write(2, Uint8Array.of(9, 8, 7)), 3);
    assert.equal(chain.write(7, Uint8Array.of(6, 6)), 1, 'only what fits');
    assert.deepEqual([...memory.subarray(DATA + 16, DATA + 20)], [0, 0, 9, 0]);
    assert.deepEqual([...memory.subarray(DATA + 32, DATA + 38)], [8, 7, 0, 0, 6, 0]);
    assert.equal(queue.pop(), undefined);
    queue.push(chain, 5);
    assert.deepEqual(ring.completed(), [{ id: head, length: 5 }]);
    assert.equal(log.interrupts, 1);
  });

  it('follows an indirect table, alone or behind direct descriptors', () => {
    const { ring, queue } = ready();
    ring.addIndirect(DATA, { gpa: 0x30000, length: 4 }, { gpa: 0x30010, length: 6, write: true });
    const chain = queue.pop()!;
    assert.deepEqual(chain.readable, [{ gpa: 0x30000, length: 4 }]);
    assert.deepEqual(chain.writable, [{ gpa: 0x30010, length: 6 }]);
    ring.describe(4, 0x31000, 1, Desc.next, 5);
    ring.describe(5, DATA, 32, Desc.indirect);
    ring.offer(4);
    assert.deepEqual(
      queue.pop()!.readable.map(({ gpa }) => gpa),
      [0x31000, 0x30000],
    );
  });

  it('goes around the ring and around 16-bit indices', () => {
    const { ring, queue, log } = ready();
    for (let i = 0; i < 0x10000 + 20; i++) {
      queue.beginTurn();
      ring.add({ gpa: DATA, length: 1 });
      const chain = queue.pop()!;
      queue.push(chain, 0);
    }
    assert.equal(log.broken, '');
    assert.equal(ring.usedIndex, 20);
    assert.equal(ring.completed().length, 20);
  });

  it('does not interrupt when the driver says so', () => {
    const { ring, queue, log } = ready();
    ring.availableFlags = 1;
    ring.add({ gpa: DATA, length: 1 });
    queue.push(queue.pop()!, 0);
    assert.equal(log.interrupts, 0);
  });

  it('interrupts and asks to be notified at event indices', () => {
    const { ring, queue, log } = ready({ eventIndex: true });
    ring.usedEvent = 2;
    for (let i = 0; i < 4; i++) ring.add({ gpa: DATA, length: 1 });
    const counts = [];
    for (let i = 0; i < 4; i++) {
      queue.push(queue.pop()!, 0);
      counts.push(log.interrupts);
    }
    assert.deepEqual(counts, [0, 0, 1, 1], 'for the used element 2');
    assert.equal(ring.availableEvent, 0);
    assert.equal(queue.pop(), undefined);
    assert.equal(ring.availableEvent, 4, 'all are taken: the next one counts');
  });

  it('hands out a bounded number of bytes a turn, and asks for another one', () => {
    const { ring, queue, log } = ready();
    for (let i = 0; i < SIZE; i++) ring.add({ gpa: 0, length: 1 << 20 });
    let chains = 0;
    while (queue.pop()) chains++;
    assert.equal(chains, 4);
    assert.equal(log.later, 1);
    queue.beginTurn();
    while (queue.pop()) chains++;
    assert.equal(chains, SIZE);
    assert.equal(log.broken, '');
  });

  it('refuses rings that cannot be', () => {
    const refused = (set: (b: ReturnType<typeof bench>) => boolean) => {
      const b = bench();
      assert.equal(set(b), false);
      return b.log.broken;
    };
    const size = (value: number) =>
      refused((b) => {
        b.queue.setSize(value);
        return b.place();
      });
    for (const value of [0, 3, 16, 0xffff])
      assert.match(size(value), /queue size \d+, expected a power of two of at most 8/);
    assert.match(
      refused((b) => b.place(BASE + 8)),
      /descriptor table at 0x10008, expected a multiple of 16/,
    );
    assert.match(
      refused((b) => b.place(undefined, BASE + 1)),
      /driver area at 0x10001, expected a multiple of 2/,
    );
    assert.match(
      refused((b) => b.place(undefined, undefined, BASE + 2)),
      /device area at 0x10002, expected .* 4/,
    );
    assert.match(
      refused((b) => b.place((1 << 20) - 112)),
      /128 bytes do not lie in memory/,
    );
    const high = refused((b) => {
      b.queue.setAddress('device', 1, 0xffffffff);
      return b.place();
    });
    assert.match(high, /device area at 0xffffffff00015000: its 70 bytes/);
  });

  it('keeps the place of an enabled queue', () => {
    const { ring, queue } = ready();
    queue.setAddress('descriptors', 1, 5);
    queue.setSize(0x8000);
    assert.deepEqual([queue.address('descriptors', 0), queue.address('descriptors', 1)], [ring.descriptors, 0]);
    assert.equal(queue.state.size, SIZE);
  });

  describe('of a hostile driver', () => {
    const broken = (hostile: (b: ReturnType<typeof ready>) => void, options = {}) => {
      const b = ready(options);
      hostile(b);
      assert.equal(b.queue.pop(), undefined);
      return b.log.broken;
    };
    const one = (gpa: number | bigint, length: number, flags = 0, next = 0) =>
      broken(({ ring }) => {
        ring.describe(0, gpa, length, flags, next);
        ring.offer(0);
      });

    it('breaks on what cannot be followed', () => {
      assert.match(one(1 << 20, 1), /descriptor 0: 1 bytes at 0x100000 do not lie in memory/);
      assert.match(one((1 << 20) - 1, 2), /do not lie in memory/);
      assert.match(one(0xffffffffffffffffn, 1), /do not lie in memory/);
      assert.match(one(0xffffffff00000000n, 0xffffffff), /do not lie in memory/);
      assert.match(one(DATA, 0), /has length 0/);
      assert.match(one(DATA, 1, Desc.next, 8), /descriptor 8 is none of 8/);
      assert.match(one(DATA, 1, Desc.next, 0), /a loop/);
      assert.match(one(DATA, 17, Desc.indirect), /indirect table of 17 bytes/);
      assert.match(one(DATA, 16, Desc.indirect | Desc.next), /indirect and has a next/);
      assert.match(
        broken(({ ring }) => ring.offer(0x8000)),
        /descriptor 32768 is none of 8/,
      );
    });

    it('breaks on a buffer to read behind one to write', () => {
      const reason = broken(({ ring }) => ring.add({ gpa: DATA, length: 1, write: true }, { gpa: DATA, length: 1 }));
      assert.match(reason, /behind one to be written/);
    });

    it('breaks on indirect tables in indirect tables, loops in them, and those that were not negotiated', () => {
      const nested = broken(({ ring }) => {
        ring.describe(0, DATA, 16, Desc.indirect, 0, DATA);
        ring.describe(0, DATA, 16, Desc.indirect);
        ring.offer(0);
      });
      assert.match(nested, /inside of an indirect table/);
      const loop = broken(({ ring }) => {
        ring.describe(0, DATA, 16, Desc.next, 1, DATA);
        ring.describe(1, DATA, 16, Desc.next, 0, DATA);
        ring.describe(0, DATA, 32, Desc.indirect);
        ring.offer(0);
      });
      assert.match(loop, /a loop/);
      const many = Array.from({ length: 9 }, () => ({ gpa: DATA, length: 1 }));
      assert.match(
        broken(({ ring }) => ring.addIndirect(0x30000, ...many)),
        /longer than the queue/,
      );
      const without = { indirect: false };
      assert.match(
        broken(({ ring }) => ring.addIndirect(DATA, many[0]), without),
        /not negotiated/,
      );
    });

    it('breaks on an available index that is too far ahead, and then does nothing more', () => {
      const { ring, queue, log } = ready();
      ring.add({ gpa: DATA, length: 1 });
      ring.availableIndex = SIZE + 1;
      assert.equal(queue.pop(), undefined);
      assert.match(log.broken, /available index 9 is more than the queue size 8 ahead of 0/);
      ring.availableIndex = 1;
      assert.equal(queue.pop(), undefined);
      queue.push(0, 0);
      assert.equal(ring.usedIndex, 0);
    });

    it('survives random rings', () => {
      let seed = 20240229;
      const random = (limit: number) => {
        seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
        return Math.floor((seed / 2 ** 32) * limit);
      };
      const pick = <T>(...values: T[]) => values[random(values.length)];
      const reasons = new Set<string>();
      let chains = 0;
      for (let round = 0; round < 3000; round++) {
        const { ring, queue, log } = ready({ eventIndex: round % 2 === 0 });
        for (let i = 0; i < SIZE; i++) {
          const length = pick(16, 32, 64, random(4096), random(2 ** 32), 0);
          ring.describe(i, pick(DATA, random(1 << 20), random(2 ** 32)), length, random(8), random(pick(SIZE, 16)));
          ring.describe(i, pick(DATA, 0x30000), 1 + random(4096), random(4), random(10), DATA);
        }
        for (let i = random(12); i > 0; i--) ring.offer(random(9));
        for (let pops = 0; pops < 20; pops++) {
          const chain = queue.pop();
          if (!chain) break;
          chains++;
          for (const { gpa, length } of [...chain.readable, ...chain.writable]) {
            assert.ok(length > 0 && gpa + length <= 1 << 20);
          }
          assert.ok(chain.readable.length + chain.writable.length <= SIZE);
          queue.push(chain, chain.writableLength);
        }
        if (log.broken) reasons.add(log.broken.replace(/\d+|0x[0-9a-f]+/g, 'N'));
      }
      assert.ok(chains > 300, `${chains} chains`);
      assert.ok(reasons.size >= 8, [...reasons].join('\n'));
    });
  });
});
