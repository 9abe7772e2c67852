import assert from 'node:assert/strict';
import { SETUP_FIELDS, SetupHeader, showField } from '../../../emulator-core/boot/linuxSetupHeader';
import { bzImage } from './images';

describe('the Linux setup header', () => {
  it('has its fields where boot.rst has them', () => {
    // "The Real-Mode Kernel Header": offset/size, protocol, name.
    const rows: [string, number, number, number][] = [
      ['setup_sects', 0x1f1, 1, 0],
      ['vid_mode', 0x1fa, 2, 0],
      ['boot_flag', 0x1fe, 2, 0],
      ['jump', 0x200, 2, 0x200],
      ['header', 0x202, 4, 0x200],
      ['version', 0x206, 2, 0x200],
      ['kernel_version', 0x20e, 2, 0x200],
      ['type_of_loader', 0x210, 1, 0x200],
      ['loadflags', 0x211, 1, 0x200],
      ['code32_start', 0x214, 4, 0x200],
      ['ramdisk_image', 0x218, 4, 0x200],
      ['ramdisk_size', 0x21c, 4, 0x200],
      ['heap_end_ptr', 0x224, 2, 0x201],
      ['cmd_line_ptr', 0x228, 4, 0x202],
      ['initrd_addr_max', 0x22c, 4, 0x203],
      ['syssize', 0x1f4, 4, 0x204],
      ['kernel_alignment', 0x230, 4, 0x205],
      ['relocatable_kernel', 0x234, 1, 0x205],
      ['cmdline_size', 0x238, 4, 0x206],
      ['payload_offset', 0x248, 4, 0x208],
      ['payload_length', 0x24c, 4, 0x208],
      ['pref_address', 0x258, 8, 0x20a],
      ['init_size', 0x260, 4, 0x20a],
      ['xloadflags', 0x236, 2, 0x20c],
    ];
    assert.deepEqual(
      Object.fromEntries(rows.map(([name, ...rest]) => [name, rest])),
      Object.fromEntries(Object.entries(SETUP_FIELDS).map(([name, row]) => [name, [...row]])),
    );
  });

  it('is found by boot flag and signature', () => {
    assert.equal(SetupHeader.of(new Uint8Array(4096)), undefined);
    assert.equal(SetupHeader.of(bzImage().subarray(0, 0x208)), undefined);
    const flagless = bzImage();
    flagless[0x1fe] = 0;
    assert.equal(SetupHeader.of(flagless), undefined);
    const header = SetupHeader.of(bzImage())!;
    assert.deepEqual(
      [header.version, header.end, header.setupSize, header.payload.length],
      [0x20f, 0x268, 1024, 0x400],
    );
  });

  it('has four setup sectors when it says none', () => {
    const image = new Uint8Array(4096);
    image.set(bzImage().subarray(0, 1024));
    image[0x1f1] = 0;
    assert.equal(SetupHeader.of(image)!.setupSize, 5 * 512);
  });

  it('gives a default for what its version, its length or the image does not have, and writes what it has', () => {
    const old = new SetupHeader(bzImage({ version: 0x209 }));
    assert.equal(old.get('pref_address', 7), 7);
    assert.equal(old.get('cmdline_size', 255), 2047);
    const image = bzImage();
    const header = new SetupHeader(image);
    assert.equal(header.get('pref_address'), 0x400000);
    header.set('pref_address', 0x1234567890);
    header.set('heap_end_ptr', 0xde00);
    assert.deepEqual([...image.subarray(0x258, 0x260)], [0x90, 0x78, 0x56, 0x34, 0x12, 0, 0, 0]);
    assert.equal(showField(header, 'heap_end_ptr'), 'heap_end_ptr 0xde00 at offset 0x224');
    image[0x201] = 0x24; // the header ends at 226h
    const short = new SetupHeader(image);
    assert.deepEqual([short.has('heap_end_ptr'), short.has('cmd_line_ptr')], [true, false]);
    short.set('cmd_line_ptr', 1);
    assert.equal(image[0x228], 0);
  });
});
