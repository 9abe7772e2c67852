// Expected values: VIRTIO 1.2, "Entropy Device" and "Console Device".
import assert from 'node:assert/strict';
import { VirtioConsole } from '../../../../emulator-core/devices/virtio/console';
import { VirtioRng } from '../../../../emulator-core/devices/virtio/rng';
import { PciDriver } from './pciDriver';

const DATA = 0x200000;

describe('virtio-rng', () => {
  const start = () => new PciDriver([{ bus: 'pci', create: (host) => new VirtioRng(0, host) }]).start();
  const draw = (driver: PciDriver, length: number) => {
    driver.rings[0].add({ gpa: DATA, length, write: true });
    driver.kick(0);
    const [done] = driver.rings[0].completed();
    return driver.memory.slice(DATA, DATA + done.length);
  };

  it('fills buffers with bytes of all values, the same in every run', () => {
    const driver = start();
    const bytes = Array.from({ length: 16 }, () => [...draw(driver, 4096)]).flat();
    assert.equal(bytes.length, 65536);
    const counts = new Array<number>(256).fill(0);
    for (const byte of bytes) counts[byte]++;
    // Chi-squared with 255 degrees of freedom: within 330 with p = 0.999.
    const chi = counts.reduce((sum, count) => sum + (count - 256) ** 2 / 256, 0);
    assert.ok(chi < 330, `chi-squared ${chi}`);
    assert.deepEqual([...draw(start(), 100)], bytes.slice(0, 100));
  });

  it('goes on from where it was saved', () => {
    const driver = start();
    draw(driver, 13);
    const state = structuredClone(driver.r.platform.save());
    const memory = driver.memory.slice();
    const next = draw(driver, 64);
    const other = new PciDriver([{ bus: 'pci', create: (host) => new VirtioRng(0, host) }]).start();
    draw(other, 13);
    other.r.platform.restore(state);
    other.memory.set(memory);
    assert.deepEqual(draw(other, 64), next);
  });

  it('answers a buffer that it cannot write to, and a huge one in part', () => {
    const driver = start();
    driver.rings[0].add({ gpa: DATA, length: 4 });
    driver.kick(0);
    assert.equal(driver.rings[0].completed()[0].length, 0);
    const given = draw(driver, 1 << 20).length;
    assert.ok(given > 0 && given <= 1 << 20);
  });
});

describe('virtio-console', () => {
  function start() {
    let output = '';
    let device!: VirtioConsole;
    const create = (host: ConstructorParameters<typeof VirtioConsole>[1]) =>
      (device = new VirtioConsole(0, host, (byte) => (output += String.fromCharCode(byte))));
    const driver = new PciDriver([{ bus: 'pci', create }]);
    return { driver, device, output: () => output };
  }
  const typed = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));

  it('prints what the guest transmits', () => {
    const { driver, output } = start();
    driver.start();
    driver.memory.set(typed('hello, '), DATA);
    driver.memory.set(typed('world'), DATA + 0x100);
    driver.rings[1].add({ gpa: DATA, length: 7 }, { gpa: DATA + 0x100, length: 5 });
    driver.kick(1);
    assert.equal(output(), 'hello, world');
  });

  it('keeps input until the driver gives buffers', () => {
    const { driver, device } = start();
    assert.equal(device.open, false);
    assert.equal(device.input(typed('abcdef')), 6);
    driver.start();
    assert.equal(device.open, true);
    driver.rings[0].add({ gpa: DATA, length: 4, write: true });
    driver.kick(0);
    driver.rings[0].add({ gpa: DATA + 16, length: 4, write: true });
    driver.kick(0);
    assert.deepEqual(
      driver.rings[0].completed().map(({ length }) => length),
      [],
      'a reset has emptied it',
    );
    device.input(typed('abcdef'));
    assert.deepEqual(driver.rings[0].completed(), [
      { id: 0, length: 4 },
      { id: 1, length: 2 },
    ]);
    assert.equal(Buffer.from(driver.memory.subarray(DATA, DATA + 4)).toString(), 'abcd');
    assert.equal(device.input(new Uint8Array(10000)), 4096, 'no more than it has room for');
  });

  it('says its size, tells the driver of another one, and keeps it over a reset', () => {
    const { driver, device } = start();
    assert.equal(driver.features() & 1n, 1n, 'VIRTIO_CONSOLE_F_SIZE');
    driver.start();
    // struct virtio_console_config: le16 cols, rows
    const size = () => [driver.read(4, 0, 2), driver.read(4, 2, 2)];
    assert.deepEqual(size(), [80, 25]);
    const generation = driver.read(1, 21, 1); // config_generation
    device.resize(132, 43);
    assert.deepEqual(size(), [132, 43]);
    assert.notEqual(driver.read(1, 21, 1), generation);
    const saved = device.save();
    device.resize(1, 65535);
    device.reset();
    assert.deepEqual(size(), [1, 65535]);
    device.restore(saved);
    assert.deepEqual(size(), [132, 43]);
  });

  it('tells the driver of its size when it first writes: Linux reads it then', () => {
    const { driver } = start();
    driver.start();
    const generation = () => driver.read(1, 21, 1);
    const before = generation();
    const write = () => {
      driver.rings[1].add({ gpa: DATA, length: 1 });
      driver.kick(1);
    };
    write();
    assert.equal(generation(), before + 1);
    write();
    assert.equal(generation(), before + 1, 'once');
  });

  it('prints emergency writes without any queue', () => {
    const { driver, output } = start();
    assert.equal(driver.features() & 4n, 4n);
    driver.write(4, 8, 0x21, 4);
    assert.equal(output(), '!');
  });

  it('lets a driver that transmits without end have turns only', () => {
    const { driver, output } = start();
    driver.start();
    for (let i = 0; i < 64; i++) driver.rings[1].add({ gpa: 0, length: 1 << 20 });
    driver.kick(1);
    const first = output().length;
    assert.ok(first <= 5 << 20, `${first} bytes in one go`);
    driver.r.advance(10_000);
    assert.ok(output().length > first && output().length <= 10 << 20);
  });
});
