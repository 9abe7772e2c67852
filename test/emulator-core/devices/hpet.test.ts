/** Expected values: IA-PC HPET Specification 1.0a, section 2.3; the way of programming it: Linux's arch/x86/kernel/hpet.c. */
import assert from 'node:assert/strict';
import { Hpet } from '../../../emulator-core/devices/hpet';
import { EventQueue } from '../../../emulator-core/time/eventQueue';
import { rig, type Rig } from './rig';

const BASE = 0xfed00000;
const [CONF, STATUS, COUNTER] = [0x10, 0x20, 0xf0];
const timer = (n: number): number => 0x100 + 0x20 * n;
const comparator = (n: number): number => 0x108 + 0x20 * n;
const [LEVEL, ENABLED, PERIODIC, SET, MODE_32] = [0x02, 0x04, 0x08, 0x40, 0x100];
const route = (pin: number): number => pin << 9;

function hpet(r: Rig = rig()) {
  const read = (offset: number): number => r.platform.bus.readMmio(BASE + offset, 4);
  const write = (offset: number, value: number): void => r.platform.bus.writeMmio(BASE + offset, value, 4);
  /** The I/O APIC sends pin's interrupts to processor 0 as `vector`, edge- or level-triggered. */
  const connect = (pin: number, vector: number, level = false): void => {
    r.platform.apic(0).writeRegister(0xf0, 0x1ff);
    for (const [register, value] of [
      [0x11 + 2 * pin, 0],
      [0x10 + 2 * pin, vector | (level ? 0x8000 : 0)],
    ]) {
      r.platform.bus.writeMmio(0xfec00000, register, 4);
      r.platform.bus.writeMmio(0xfec00010, value, 4);
    }
  };
  /** The vector of the interrupt that is delivered, which ends then; undefined when there is none. */
  const interrupt = (): number | undefined => {
    if (!r.platform.apic(0).hasInterrupt()) return undefined;
    const vector = r.platform.apic(0).acknowledge();
    r.platform.apic(0).writeRegister(0xb0, 0);
    return vector;
  };
  return { ...r, read, write, connect, interrupt };
}

describe('HPET', () => {
  it('has three 64-bit timers with periodic mode, a period of at most 100 ns, and no FSB messages', () => {
    const { read, platform } = hpet();
    const capabilities = read(0);
    assert.equal(capabilities & 0xff, 1, 'revision');
    assert.equal((capabilities >>> 8) & 0x1f, 2, 'number of the last timer');
    assert.equal((capabilities >>> 13) & 1, 1, '64-bit counter');
    assert.equal((capabilities >>> 15) & 1, 1, 'legacy replacement');
    assert.equal(capabilities >>> 16, 0x8086);
    assert.equal(read(4), 10e6, 'femtoseconds a tick');
    for (const n of [0, 1, 2]) {
      assert.equal(read(timer(n)), 0x30, 'periodic, 64 bits');
      assert.equal(read(timer(n) + 4), 0x00f00000);
    }
    assert.equal(read(timer(3)), 0, 'no fourth timer');
    assert.equal(platform.bus.readMmio(BASE + 2, 2), 0x8086);
    assert.equal(platform.bus.readMmio(BASE + 6, 4), 0, 'across two registers');
  });

  it('counts while enabled, stands still else, and takes a new count', () => {
    const { read, write, advance } = hpet();
    advance(1000);
    assert.equal(read(COUNTER), 0);
    write(CONF, 1);
    advance(1000);
    assert.equal(read(COUNTER), 100);
    write(CONF, 0);
    advance(1000);
    assert.equal(read(COUNTER), 100);
    write(COUNTER, 0xffffffff);
    write(COUNTER + 4, 0x12);
    write(CONF, 1);
    advance(10);
    assert.deepEqual([read(COUNTER), read(COUNTER + 4)], [0, 0x13]);
  });

  it('keeps what a timer does not offer: an unsupported route, capabilities', () => {
    const { read, write } = hpet();
    write(timer(1), route(21) | ENABLED);
    assert.equal(read(timer(1)), route(21) | ENABLED | 0x30);
    write(timer(1), route(3) | LEVEL | 0xc000);
    assert.equal(read(timer(1)), route(21) | LEVEL | 0x30);
    write(timer(0), SET);
    assert.equal(read(timer(0)), 0x30, 'VAL_SET_CNF reads 0');
    write(0, 0);
    assert.equal(read(0) >>> 16, 0x8086);
  });

  it('interrupts once in one-shot mode, by an edge, also when the 8259 or the I/O APIC looks later', () => {
    const { write, connect, interrupt, advance } = hpet();
    connect(20, 0x51);
    write(CONF, 1);
    write(timer(2), route(20) | ENABLED);
    write(comparator(2), 500);
    write(comparator(2) + 4, 0);
    advance(4990);
    assert.equal(interrupt(), undefined);
    advance(10);
    assert.equal(interrupt(), 0x51);
    advance(1e9);
    assert.equal(interrupt(), undefined);
    write(comparator(2), 0x06000000);
    advance(1e9);
    assert.equal(interrupt(), 0x51);
  });

  it('matches at the very tick where counter and comparator are near 2^53 or 2^64', () => {
    for (const high of [0x001fffff, 0xffffffff]) {
      const { read, write, connect, interrupt, advance } = hpet();
      connect(20, 0x51);
      write(COUNTER + 4, high);
      write(COUNTER, 0xffffff00);
      write(CONF, 1);
      advance(1250);
      assert.deepEqual([read(COUNTER), read(COUNTER + 4)], [0xffffff7d, high]);
      write(timer(2), route(20) | ENABLED);
      write(comparator(2) + 4, high);
      write(comparator(2), 0xffffff84);
      advance(65);
      assert.equal(interrupt(), undefined);
      advance(5);
      assert.equal(interrupt(), 0x51);
      advance(1240);
      assert.deepEqual([read(COUNTER), read(COUNTER + 4)], [0, (high + 1) % 0x100000000]);
    }
  });

  it('counts to the tick where only one of counter and comparator is above 2^53, of which doubles have every second', () => {
    for (const { counter, comparatorAt, mode, ticks } of [
      { counter: 2n ** 53n - 5n, comparatorAt: 2n ** 53n + 1n, mode: 0, ticks: 6 },
      { counter: 2n ** 53n + 1n, comparatorAt: 5n, mode: MODE_32, ticks: 4 },
    ]) {
      const { write, connect, interrupt, advance } = hpet();
      connect(20, 0x51);
      const write64 = (offset: number, value: bigint): void => {
        write(offset, Number(value & 0xffffffffn));
        write(offset + 4, Number(value >> 32n));
      };
      write64(COUNTER, counter);
      write(timer(2), route(20) | ENABLED | mode);
      write64(comparator(2), comparatorAt);
      write(CONF, 1);
      advance(10 * ticks - 1);
      assert.equal(interrupt(), undefined);
      advance(1);
      assert.equal(interrupt(), 0x51);
    }
  });

  it('matches at once where the comparator is written with what the counter is at, and in 32-bit mode a turn later', () => {
    const { write, connect, interrupt, advance } = hpet();
    connect(20, 0x51);
    write(CONF, 1);
    advance(5000);
    write(timer(2), route(20) | ENABLED | MODE_32);
    write(comparator(2), 500);
    advance(0);
    assert.equal(interrupt(), 0x51);
    advance(10 * (2 ** 32 - 1));
    assert.equal(interrupt(), undefined);
    advance(10);
    assert.equal(interrupt(), 0x51);
  });

  it('comes to a comparator behind the counter in the next turn: of 32 bits in 43 seconds, of 64 in no time that there is', () => {
    for (const mode of [0, MODE_32]) {
      const { write, connect, interrupt, advance, platform } = hpet();
      connect(20, 0x51);
      write(CONF, 1);
      advance(5000);
      write(timer(2), route(20) | ENABLED | mode);
      write(comparator(2) + 4, 0);
      // The counter is at 500.
      write(comparator(2), 499);
      if (mode === 0) {
        assert.ok(!platform.events.save().some(({ name }) => name === 'hpet.timer2'));
        continue;
      }
      for (const ticks of [2 ** 32 - 1, 2 ** 32]) {
        advance(10 * (ticks - 1));
        assert.equal(interrupt(), undefined);
        advance(10);
        assert.equal(interrupt(), 0x51);
      }
    }
  });

  it('holds a level until its status bit is cleared', () => {
    const { read, write, connect, interrupt, advance } = hpet();
    connect(23, 0x52, true);
    write(timer(1), route(23) | ENABLED | LEVEL);
    write(comparator(1), 100);
    write(comparator(1) + 4, 0);
    write(CONF, 1);
    advance(1000);
    assert.equal(read(STATUS), 2);
    assert.equal(interrupt(), 0x52);
    assert.equal(interrupt(), 0x52, 'still asserted');
    write(STATUS, 1);
    assert.equal(read(STATUS), 2, 'only by its own bit');
    const pending = interrupt();
    write(STATUS, 2);
    assert.equal(read(STATUS), 0);
    assert.equal(pending, 0x52);
    interrupt(); // the one that came before
    assert.equal(interrupt(), undefined);
  });

  it('sets the status bit of a level-triggered timer whose interrupt is off', () => {
    const { read, write, connect, interrupt, advance } = hpet();
    connect(20, 0x53, true);
    write(timer(0), route(20) | LEVEL);
    write(comparator(0), 100);
    write(comparator(0) + 4, 0);
    write(CONF, 1);
    advance(1000);
    assert.equal(read(STATUS), 1);
    assert.equal(interrupt(), undefined);
    write(timer(0), route(20) | LEVEL | ENABLED);
    assert.equal(interrupt(), 0x53);
  });

  it('repeats as Linux programs it: first match with VAL_SET_CNF, then the period', () => {
    const { read, write, connect, interrupt, advance } = hpet();
    connect(2, 0x30);
    write(CONF, 0);
    write(COUNTER, 0);
    write(COUNTER + 4, 0);
    write(CONF, 3);
    write(timer(0), ENABLED | PERIODIC | SET | MODE_32);
    write(comparator(0), 1000);
    write(comparator(0), 400);
    const seen: number[] = [];
    for (let us = 1; us <= 30; us++) {
      advance(1000);
      if (interrupt() === 0x30) seen.push(us);
    }
    assert.deepEqual(seen, [10, 14, 18, 22, 26, 30]);
    assert.equal(read(comparator(0)), 3400, 'the next match');
  });

  for (const bits of [32, 64]) {
    const mode = PERIODIC | (bits === 32 ? MODE_32 : 0);
    const [first, period] = [1000, 400_000];
    const at = route(20);

    /** Timer 0 counts periods with its interrupt off, from 0 on. `pass` lets ticks go by. */
    const counting = () => {
      const h = hpet();
      const { read, write, platform } = h;
      h.connect(20, 0x55);
      write(CONF, 1);
      write(timer(0), at | mode | SET);
      write(comparator(0), first);
      write(comparator(0) + 4, 0);
      write(comparator(0), period);
      write(comparator(0) + 4, 0);
      let counter = 0;
      const pass = (ticks: number): void => {
        h.advance(ticks * 10);
        counter += ticks;
      };
      /** The first match behind the counter. */
      const next = (): number => {
        const match = first + period * Math.max(0, Math.floor((counter - first) / period) + 1);
        return bits === 32 ? match % 2 ** 32 : match;
      };
      const seen = (): number => read(comparator(0)) + 2 ** 32 * read(comparator(0) + 4);
      const events = (): string[] => platform.events.save().map(({ name }) => name);
      return { ...h, pass, next, seen, events, counter: () => counter };
    };

    describe(`a periodic timer of ${bits} bits that only its comparator tells of`, () => {
      it('makes no events, and matches all the same, over turns of 32 bits, too', () => {
        const { pass, next, seen, events, counter } = counting();
        for (const ticks of [999, 1, 399_999, 1, 123_456_789, 3 * 2 ** 32 + 77]) {
          pass(ticks);
          assert.equal(seen(), next(), `after ${counter()} ticks`);
          assert.ok(!events().includes('hpet.timer0'), `after ${counter()} ticks`);
        }
      });

      it('interrupts at its next match once its interrupt is on, and goes on from there when it is off', () => {
        const { pass, next, seen, write, interrupt, advance, counter } = counting();
        pass(7 * period + 5);
        write(timer(0), at | mode | ENABLED);
        const left = next() - counter();
        pass(left - 1);
        assert.equal(interrupt(), undefined);
        pass(1);
        assert.equal(interrupt(), 0x55);
        write(timer(0), at | mode);
        pass(period * 2.5);
        write(CONF, 0);
        advance(1e9);
        assert.equal(seen(), next(), 'no more while the counter stands still');
        write(CONF, 1);
        pass(period * 10);
        assert.equal(seen(), next());
      });

      it('is saved and shown as far as it has come, and goes on when it is restored', () => {
        const one = counting();
        one.pass(5 * period);
        const saved = one.platform.save();
        const other = counting();
        other.pass(5 * period);
        other.write(timer(0), 0);
        other.platform.restore(saved);
        for (const ticks of [period - 1, 1, 12 * period]) {
          one.pass(ticks);
          other.pass(ticks);
          assert.deepEqual([one.seen(), other.seen()], [one.next(), one.next()]);
        }
        one.pass(period);
        const shown = JSON.stringify(one.platform.describe());
        assert.ok(shown.includes(`"0x${one.next().toString(16).padStart(16, '0')}"`), shown);
      });

      it('takes an event of a snapshot from when it had events', () => {
        const { platform, pass, next, seen, now, events } = counting();
        pass(period);
        platform.events.at('hpet.timer0', now() + 10 * (next() - period));
        pass(3 * period);
        assert.equal(seen(), next());
        assert.ok(!events().includes('hpet.timer0'));
      });
    });
  }

  it('matches nothing between the halves of a write of 8 bytes', () => {
    const { read, write, advance } = hpet();
    write(CONF, 1);
    write(timer(0), PERIODIC | SET);
    for (const value of [0x64000, 0x1000]) {
      write(comparator(0), value);
      write(comparator(0) + 4, 0);
    }
    advance(1000);
    write(COUNTER, 0x64000);
    write(COUNTER + 4, 1);
    advance(1000);
    assert.deepEqual([read(comparator(0)), read(comparator(0) + 4)], [0x64000, 0], 'behind the counter');
  });

  it('drives no line when somebody looks', () => {
    let time = 0;
    let driven = 0;
    const line = { set: () => void driven++ };
    const device = new Hpet({
      clock: { now: () => time },
      events: new EventQueue(),
      legacy: [line, line],
      pins: [line, line, line, line],
      replaced: () => {},
    });
    const write = (offset: number, value: number): void => device.writeMmio(BASE + offset, value, 4);
    write(CONF, 1);
    write(timer(0), PERIODIC | SET | MODE_32);
    write(comparator(0), 100);
    driven = 0;
    time = 1e6;
    device.describe();
    device.save();
    assert.equal(device.readMmio(BASE + comparator(0), 4), 100_100);
    assert.equal(driven, 0);
  });

  it('takes an 8-byte write of a periodic comparator as one, and wraps at 32 bits in 32-bit mode', () => {
    const { read, write, platform, connect, interrupt, advance } = hpet();
    write(timer(0), PERIODIC | SET);
    platform.bus.writeMmio(BASE + comparator(0), 5, 4);
    platform.bus.writeMmio(BASE + comparator(0) + 4, 7, 4);
    assert.deepEqual([read(comparator(0)), read(comparator(0) + 4)], [5, 7]);
    connect(21, 0x54);
    write(COUNTER, 0xffffff00);
    write(COUNTER + 4, 1);
    write(timer(1), route(21) | ENABLED | MODE_32);
    write(comparator(1), 0x100);
    write(comparator(1) + 4, 5);
    assert.equal(read(comparator(1) + 4), 0, 'no upper half in 32-bit mode');
    write(CONF, 1);
    advance(0x1ff * 10);
    assert.equal(interrupt(), undefined);
    advance(10);
    assert.equal(interrupt(), 0x54);
  });

  it('replaces the 8254 and the RTC on IRQ 0 and 8, and gives the lines back', () => {
    const { write, platform, connect, interrupt, advance } = hpet();
    connect(2, 0x30);
    connect(8, 0x38);
    advance(100e6); // the 8254 runs at 18.2 Hz
    assert.equal(interrupt(), 0x30);
    write(timer(1), ENABLED | MODE_32);
    write(comparator(1), 1000);
    write(CONF, 3);
    interrupt();
    advance(200e6);
    assert.equal(interrupt(), 0x38);
    assert.equal(interrupt(), undefined, 'no tick of the 8254');
    assert.equal(platform.irqLines.level(0), 0);
    write(CONF, 0);
    advance(100e6);
    assert.equal(interrupt(), 0x30);
  });

  it('survives periods of one tick: one event at a time, and time goes on', () => {
    const { read, write, advance } = hpet();
    write(CONF, 1);
    write(timer(0), PERIODIC | SET | ENABLED | LEVEL | route(20));
    write(comparator(0), 1);
    write(comparator(0) + 4, 0);
    advance(10000);
    assert.equal(read(COUNTER), 1000);
    assert.equal(read(comparator(0)), 1001);
    write(timer(0), PERIODIC | SET | ENABLED);
    write(comparator(0), 0);
    write(comparator(0) + 4, 0);
    advance(10000);
    assert.equal(read(COUNTER), 2000);
  });
});
