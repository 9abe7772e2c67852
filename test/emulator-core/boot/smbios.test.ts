import assert from 'node:assert/strict';
import { bootGuest } from '../../../emulator-core/boot/boot';
import { bzImage, Memory, request, sum } from './images';

/** DSP0134 2.8: finds the entry point as 5.2.1 says and walks the structures as 6.1.2 does. */
function structures(memory: Uint8Array): { type: number; handle: number; data: Uint8Array; strings: string[] }[] {
  const m = new Memory(memory);
  let entry = 0xf0000;
  while (entry < 0x100000 && m.text(entry, 4) !== '_SM_') entry += 16;
  assert.ok(entry < 0x100000, 'an entry point on a 16-byte boundary of F0000h to FFFFFh');
  assert.equal(sum(memory.subarray(entry, entry + memory[entry + 5])), 0);
  assert.equal(m.text(entry + 0x10, 5), '_DMI_');
  assert.equal(sum(memory.subarray(entry + 0x10, entry + 0x1f)), 0);
  const length = m.u16(entry + 0x16);
  let at = m.u32(entry + 0x18);
  const end = at + length;
  const found = [];
  let longest = 0;
  while (at < end) {
    const data = memory.subarray(at, at + memory[at + 1]);
    const strings: string[] = [];
    let next = at + data.length;
    while (memory[next] !== 0) {
      strings.push(m.text(next));
      next = memory.indexOf(0, next) + 1;
    }
    next += strings.length ? 1 : 2;
    longest = Math.max(longest, next - at);
    found.push({ type: memory[at], handle: m.u16(at + 2), data, strings });
    at = next;
  }
  assert.equal(at, end);
  assert.deepEqual([m.u16(entry + 0x1c), m.u16(entry + 8)], [found.length, longest]);
  return found;
}

describe('SMBIOS', () => {
  const boot = request(bzImage(), { cpus: 2 });
  bootGuest(boot);
  const found = structures(boot.memory);

  it('has the structures that 2.8 requires, the end last, handles unique', () => {
    assert.deepEqual(found.map(({ type }) => type), [0, 1, 3, 4, 4, 16, 17, 19, 32, 127]); // prettier-ignore
    assert.equal(new Set(found.map(({ handle }) => handle)).size, found.length);
    // Lengths of clause 7.
    const lengths = { 0: 0x18, 1: 0x1b, 3: 0x15, 4: 0x2a, 16: 0x17, 17: 0x28, 19: 0x1f, 32: 0x0b, 127: 4 };
    for (const { type, data } of found)
      assert.equal(data.length, lengths[type as keyof typeof lengths], `type ${type}`);
  });

  it('says whose machine it is, and that it is a virtual one', () => {
    const [bios, system] = found;
    assert.match(bios.strings[bios.data[8] - 1], /^\d\d\/\d\d\/\d{4}$/);
    assert.equal(bios.data[0x13] & 0x10, 0x10);
    assert.equal(system.strings[system.data[4] - 1], 'Ringside');
  });

  it('describes 16 MiB of memory', () => {
    const [array, device, mapped] = [16, 17, 19].map((type) => found.find((each) => each.type === type)!);
    const view = ({ data }: typeof array) => new DataView(data.buffer, data.byteOffset, data.length);
    assert.equal(view(array).getUint32(7, true), 16 * 1024);
    assert.equal(view(device).getUint16(0x0c, true), 0x8000 | (16 * 1024));
    assert.deepEqual(
      [view(device).getUint16(4, true), view(mapped).getUint16(0x0c, true)],
      [array.handle, array.handle],
    );
    assert.equal(view(mapped).getUint32(8, true), 16 * 1024 - 1);
  });
});
