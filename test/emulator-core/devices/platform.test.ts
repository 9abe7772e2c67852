import assert from 'node:assert/strict';
import { rig, type Rig } from './rig';

describe('VGA text', () => {
  it('renders the screen in code page 437, from the start address, with the cursor', () => {
    const memory = new Uint8Array(1 << 20);
    const r = rig({ memory });
    [...'Hello'].forEach((c, i) => memory.set([c.charCodeAt(0), 0x07], 0xb8000 + 2 * (80 + i)));
    memory[0xb8000 + 2 * 1999] = 0xdb;
    const crtc = (index: number, value: number) => r.out(0x3d4, (value << 8) | index, 2);
    assert.equal(r.platform.vga.text().length, 25);
    assert.equal(r.platform.vga.text()[1], 'Hello'.padEnd(80));
    assert.equal(r.platform.vga.text()[24][79], '█');
    crtc(0x0e, 0);
    crtc(0x0f, 85);
    assert.deepEqual(r.platform.vga.cursor(), { row: 1, column: 5 });
    crtc(0x0d, 80);
    assert.equal(r.platform.vga.text()[0], 'Hello'.padEnd(80));
    assert.deepEqual(r.platform.vga.cursor(), { row: 0, column: 5 });
    crtc(0x0a, 0x20);
    assert.equal(r.platform.vga.cursor(), undefined);
  });

  it('resets the attribute flip-flop on a read of input status 1, which shows the retrace', () => {
    const r = rig();
    r.in(0x3da);
    r.out(0x3c0, 0x30);
    r.out(0x3c0, 0x0c);
    r.in(0x3da);
    r.out(0x3c0, 0x30);
    assert.equal(r.in(0x3c1), 0x0c);
    let retraces = 0;
    let was = 0;
    for (let us = 0; us < 1e6; us += 20) {
      const is = r.in(0x3da) & 8;
      if (is && !was) retraces++;
      was = is;
      r.advance(20000);
    }
    assert.equal(retraces, 70);
  });
});

describe('ACPI power management', () => {
  it('counts at 3.579545 MHz in 24 bits', () => {
    const r = rig();
    r.advance(1e9);
    assert.equal(r.in(0x608, 4), 3579545);
    r.advance(4e9);
    assert.equal(r.in(0x608, 4), 17897727 - 0x1000000);
  });

  it('powers off on SLP_TYP 0 with SLP_EN', () => {
    const r = rig();
    assert.equal(r.in(0x604, 2), 1);
    r.out(0x604, 0x1401, 2);
    assert.deepEqual(r.log, []);
    r.out(0x604, 0x3401, 2);
    assert.deepEqual(r.log, []);
    r.out(0x604, 0x2001, 2);
    assert.deepEqual(r.log, ['powerOff']);
  });

  it('raises the SCI for the power button and for the timer, and clears by writing 1', () => {
    const r = rig();
    r.out(0x602, 0x0101, 2);
    r.platform.acpiPm.powerButton();
    assert.equal(r.platform.irqLines.level(9), 1);
    r.out(0x600, 0x0100, 2);
    assert.equal(r.platform.irqLines.level(9), 0);
    r.advance(2.34e9); // bit 23 changes after 2^23 ticks, 2.3435 s
    assert.equal(r.in(0x600, 2), 0);
    r.advance(0.01e9);
    assert.equal(r.platform.irqLines.level(9), 1);
    assert.equal(r.in(0x600, 2), 1);
  });
});

describe('platform', () => {
  it('ends the run through port 0xf4, if present', () => {
    const r = rig();
    r.out(0xf4, 0x10, 4);
    r.out(0xf4, 3);
    assert.deepEqual(r.log, ['debugExit 16', 'debugExit 3']);
    const without = rig({ debugExit: false });
    without.out(0xf4, 3);
    assert.deepEqual(without.log, []);
    assert.equal(without.in(0xf4), 0xff);
  });

  it('has delay ports, and no port E9h', () => {
    const r = rig();
    r.out(0x80, 0x42);
    assert.equal(r.in(0x80), 0x42);
    r.out(0xed, 1);
    assert.equal(r.in(0xe9), 0xff);
  });

  it('refuses a number of processors that it cannot have', () => {
    for (const cpus of [0, 256, 1.5, NaN]) assert.throws(() => rig({ cpus }), /expected 1 to 255/);
  });

  it('survives a hostile guest: random port and memory accesses', () => {
    const r = rig({ cpus: 3 });
    let seed = 12345;
    const random = (limit: number) => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.floor((seed / 2 ** 32) * limit);
    };
    const ports = Array.from({ length: 0x10000 }, (_, port) => port).filter(
      (port) => !r.platform.bus.portsFree(port, port),
    );
    for (let i = 0; i < 60000; i++) {
      const size = 1 << random(3);
      const port = ports[random(ports.length)];
      const value = random(2 ** 32);
      r.platform.currentCpu = random(3);
      if (random(2)) r.out(port, value, size);
      const read = r.in(port, size);
      assert.ok(Number.isInteger(read) && read >= 0 && read < 2 ** (8 * size), `port ${port}: ${read}`);
      const gpa = [0xfee00000, 0xfec00000, 0xfed00000][random(3)] + random(0x400);
      if (random(2)) r.platform.bus.writeMmio(gpa & ~15, value, 4);
      const word = r.platform.bus.readMmio(gpa, 4);
      assert.ok(Number.isInteger(word) && word >= 0 && word < 2 ** 32, `${gpa}: ${word}`);
      if (random(20) === 0) r.platform.consoleInput(Uint8Array.of(value & 0xff));
      // Time passes as in a core: runDue once, whatever is still overdue stays for the next instruction.
      if (random(10) === 0) r.platform.events.runDue(r.now());
      const cpu = random(3);
      if (r.platform.hasInterrupt(cpu)) {
        const vector = r.platform.acknowledgeInterrupt(cpu);
        assert.ok(vector >= 0 && vector < 256);
      }
    }
    r.platform.describe();
  });
});

/** Puts every device into a state that is not its reset state. */
function exercise(r: Rig): void {
  const { platform } = r;
  for (const [port, value] of [
    [0x20, 0x11],
    [0x21, 0x20],
    [0x21, 0x04],
    [0x21, 0x01],
    [0xa0, 0x11],
    [0xa1, 0x28],
    [0xa1, 0x02],
    [0xa1, 0x01],
    [0x21, 0x00],
    [0xa1, 0x00],
    [0x4d1, 0x0c],
    [0x43, 0x36],
    [0x40, 0x34],
    [0x40, 0x12],
    [0x43, 0xb0],
    [0x42, 0x55],
    [0x42, 0x02],
    [0x61, 0x01],
    [0x43, 0x80],
    [0x70, 0x0b],
    [0x71, 0x72],
    [0x3fb, 0x03],
    [0x3fa, 0xc7],
    [0x3fc, 0x0b],
    [0x3f9, 0x0f],
    [0x64, 0x60],
    [0x60, 0x47],
    [0x60, 0xf2],
    [0x92, 0x00],
    [0x80, 0x77],
    [0x3d4, 0x0f],
    [0x3d5, 0x21],
    [0x3c0, 0x12],
    [0x602, 0x21],
  ]) {
    r.out(port, value);
  }
  r.out(0xcf8, 0x80000860, 4);
  r.out(0xcfc, 0x0a0b0b0a, 4);
  platform.pci.intx(3, 1).set(1);
  platform.consoleInput(Uint8Array.from('typed ahead, and more than the FIFO holds', (c) => c.charCodeAt(0)));
  platform.bus.writeMmio(0xfec00000, 0x18, 4);
  platform.bus.writeMmio(0xfec00010, 0x34, 4);
  const apic = platform.apic(0);
  // HPET: timer 1 periodic on IRQ 8, timer 2 a level on pin 20; the 8254 and the RTC are replaced.
  for (const [offset, value] of [
    [0x120, 0x4c],
    [0x128, 50000],
    [0x140, 0x2806],
    [0x148, 200000],
    [0x14c, 0],
    [0x10, 3],
  ]) {
    platform.bus.writeMmio(0xfed00000 + offset, value, 4);
  }
  apic.writeRegister(0x320, 0x20050);
  apic.writeRegister(0x3e0, 0x3);
  apic.writeRegister(0x380, 12345);
  apic.writeRegister(0x300, 0x40061);
  platform.apic(1).writeApicBase(0xfee00c00n);
  r.advance(1234567);
}

/** What a guest and the host see in the next 5 ms. */
function behaviour(r: Rig): string[] {
  const seen: string[] = [];
  for (let i = 0; i < 200; i++) {
    r.advance(25000);
    for (const cpu of [0, 1]) {
      if (!r.platform.hasInterrupt(cpu)) continue;
      const vector = r.platform.acknowledgeInterrupt(cpu);
      seen.push(`${i}: vector ${vector}`);
      if (vector < 0x30) {
        if (vector >= 0x28) r.out(0xa0, 0x20);
        r.out(0x20, 0x20);
      } else r.platform.apic(cpu).writeRegister(0xb0, 0);
    }
    const ports = [
      0x20, 0x40, 0x42, 0x60, 0x61, 0x64, 0x71, 0x3f8, 0x3fa, 0x3fd, 0x3fe, 0x3d5, 0x3da, 0x600, 0x608, 0xcfc,
    ];
    seen.push(ports.map((port) => r.in(port).toString(16)).join(' '));
    seen.push(r.platform.apic(0).readRegister(0x390).toString());
    seen.push([0x20, 0xf0, 0x128].map((offset) => r.platform.bus.readMmio(0xfed00000 + offset, 4)).join(' '));
  }
  return seen;
}

describe('every device', () => {
  const options = { cpus: 2 };
  for (const { name } of rig(options).platform.devices) {
    describe(name, () => {
      const device = (r: Rig) => r.platform.devices.find((candidate) => candidate.name === name)!;

      it('resets to its first state', () => {
        const r = rig(options);
        const other = rig(options);
        for (const each of [r, other]) device(each).reset();
        exercise(r);
        other.advance(r.now());
        for (const each of [r, other]) device(each).reset();
        assert.deepEqual(device(r).save(), device(other).save());
      });

      it('saves a copy that later changes do not touch, as structured-clonable data', () => {
        const r = rig(options);
        exercise(r);
        const state = device(r).save();
        const copy = structuredClone(state);
        behaviour(r);
        r.platform.reset();
        assert.deepEqual(state, copy);
      });

      it('restores what it saved, and describes it alike', () => {
        const r = rig(options);
        const other = rig(options);
        exercise(r);
        other.advance(r.now());
        const state = device(r).save();
        device(other).restore(state);
        assert.deepEqual(device(other).save(), state);
        assert.deepEqual(device(other).describe(), device(r).describe());
      });
    });
  }

  it('together: restored into a new platform, everything goes on as it would have', () => {
    const r = rig(options);
    exercise(r);
    const state = r.platform.save();
    const expected = behaviour(r);
    assert.ok(expected.some((line) => line.includes('vector')));
    const other = rig(options);
    other.advance(1234567);
    other.platform.restore(structuredClone(state));
    assert.deepEqual(
      other.log.filter((line) => line !== 'mmioChanged'),
      [],
    );
    assert.deepEqual(other.platform.save(), state);
    assert.deepEqual(behaviour(other), expected);
  });

  it('together: a reset platform is like a new one', () => {
    const r = rig(options);
    exercise(r);
    r.platform.reset();
    const other = rig(options);
    other.advance(r.now());
    other.platform.reset();
    assert.deepEqual(r.platform.save(), other.platform.save());
    assert.deepEqual(behaviour(r), behaviour(other));
  });

  it('refuses a state that lacks a device', () => {
    const r = rig(options);
    const state = r.platform.save();
    delete state.devices.pit;
    assert.throws(() => r.platform.restore(state), /no device 'pit'/);
  });
});
