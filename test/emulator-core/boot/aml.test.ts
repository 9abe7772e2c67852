/** Expected bytes: what iasl makes of the same ASL. */
import assert from 'node:assert/strict';
import * as aml from '../../../emulator-core/boot/aml';
import { dsdtBody } from '../../../emulator-core/boot/dsdt';

const text = (value: string): number[] => Array.from(value, (c) => c.charCodeAt(0));

describe('AML', () => {
  it('encodes integers in their shortest form', () => {
    assert.deepEqual(aml.integer(0), [0x00]);
    assert.deepEqual(aml.integer(1), [0x01]);
    assert.deepEqual(aml.integer(0xff), [0x0a, 0xff]);
    assert.deepEqual(aml.integer(0x100), [0x0b, 0x00, 0x01]);
    assert.deepEqual(aml.integer(0x4ffff), [0x0c, 0xff, 0xff, 0x04, 0x00]);
  });

  it('encodes EISA ids', () => {
    assert.deepEqual(aml.eisaId('PNP0A03'), [0x0c, 0x41, 0xd0, 0x0a, 0x03]);
    assert.throws(() => aml.eisaId('PNP0A'), /expected three letters and four hexadecimal digits/);
  });

  it('encodes names: padded, from the root, of two and more segments', () => {
    assert.deepEqual(aml.named('_S5', aml.integer(0)), [0x08, ...text('_S5_'), 0]);
    assert.deepEqual(aml.named('\\_SB.PCI0', aml.integer(1)), [0x08, 0x5c, 0x2e, ...text('_SB_PCI0'), 1]);
    assert.deepEqual(aml.named('A.B.C', aml.integer(1)), [0x08, 0x2f, 3, ...text('A___B___C___'), 1]);
    assert.throws(() => aml.named('pci', aml.integer(0)), /AML name 'pci'/);
  });

  it('counts the bytes of a package length: one to 63, two to 4095', () => {
    const buffer = (bytes: number) => aml.packageOf(Array.from({ length: bytes }, () => 0));
    assert.deepEqual(buffer(61).slice(0, 2), [0x12, 63]);
    // 62 elements' bytes, their count and two bytes of length: 65 is 41h.
    assert.deepEqual(buffer(62).slice(0, 3), [0x12, 0x41, 0x04]);
    assert.equal(buffer(62).length, 66);
    assert.deepEqual(buffer(4092).slice(0, 3), [0x12, 0x4f, 0xff]);
    assert.deepEqual(buffer(4093).slice(0, 4), [0x12, 0x81, 0x00, 0x01]);
  });

  it('encodes resource descriptors', () => {
    assert.deepEqual(aml.ioPorts(0x3f8, 8), [0x47, 0x01, 0xf8, 0x03, 0xf8, 0x03, 0x01, 0x08]);
    assert.deepEqual(aml.irq(12), [0x22, 0x00, 0x10]);
    assert.deepEqual(
      aml.fixedMemory(0xfed00000, 0x400, 'ro'),
      [0x86, 0x09, 0x00, 0x00, 0x00, 0x00, 0xd0, 0xfe, 0x00, 0x04, 0x00, 0x00],
    );
    assert.deepEqual(
      aml.busNumbers(0, 0xff),
      [0x88, 0x0d, 0x00, 0x02, 0x0c, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0x00, 0x00, 0x00, 0x00, 0x01],
    );
    assert.deepEqual(
      aml.ioWindow(0xd00, 0xffff),
      [0x88, 0x0d, 0x00, 0x01, 0x0c, 0x03, 0x00, 0x00, 0x00, 0x0d, 0xff, 0xff, 0x00, 0x00, 0x00, 0xf3],
    );
    const window = aml.memoryWindow(0xa0000, 0xbffff);
    assert.deepEqual(window.slice(0, 6), [0x87, 0x17, 0x00, 0x00, 0x0c, 0x01]);
    assert.deepEqual(window.slice(6), [0, 0, 0, 0, 0, 0, 0x0a, 0, 0xff, 0xff, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0x02, 0]);
    assert.deepEqual(aml.levelInterrupt(5), [0x89, 0x06, 0x00, 0x01, 0x01, 0x05, 0x00, 0x00, 0x00]);
    assert.deepEqual(aml.resources(aml.irq(1)), [0x11, 0x08, 0x0a, 0x05, 0x22, 0x02, 0x00, 0x79, 0x00]);
  });
});

describe('DSDT', () => {
  it('holds objects whose lengths fill it exactly, and every device once', () => {
    const body = dsdtBody(2);
    const length = (at: number): number => {
      const extra = body[at] >> 6;
      if (extra === 0) return body[at];
      return (
        (body[at] & 0xf) + [0, 1, 2].slice(0, extra).reduce((sum, i) => sum + body[at + 1 + i] * 2 ** (4 + 8 * i), 0)
      );
    };
    // Name (_S5_, Package ...), then Scope (\_SB_).
    const scopeAt = 6 + length(6);
    assert.equal(body[5], 0x12);
    assert.equal(body[scopeAt], 0x10);
    assert.equal(scopeAt + 1 + length(scopeAt + 1), body.length);
    const ascii = String.fromCharCode(...body);
    const devices = [...ascii.matchAll(/\x5b\x82(?:[\x00-\x3f]|[\x40-\x4f].|[\x80-\x8f]..)([A-Z_][A-Z0-9_]{3})/gs)].map(
      (found) => found[1],
    );
    assert.deepEqual(devices, ['PCI0', 'ISA_', 'RTC_', 'KBD_', 'MOU_', 'COM1', 'HPET', 'MBRD', 'VIO0', 'VIO1']);
  });

  // Device (VIO0) { Name (_HID, "LNRO0005") Name (_UID, 0) Name (_CRS, ResourceTemplate () {
  //   Memory32Fixed (ReadWrite, 0xD0000000, 0x1000) Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { 5 } }) }
  it('has a device for each of virtio over MMIO', () => {
    const [without, one] = [dsdtBody(0), dsdtBody(1)].map((body) => Buffer.from(body).toString('latin1'));
    assert.equal(without.includes('VIO'), false);
    const expected =
      '5b823a56494f30085f484944 0d4c4e524f3030303500 085f55494400 085f43525311 1a0a17' +
      '86090001000000d000100000 890600010105000000 7900';
    assert.equal(Buffer.from(one.slice(-60), 'latin1').toString('hex'), expected.replaceAll(' ', ''));
  });
});
