/**
 * A guest that does nothing but run one loop in 64-bit mode, as an ELF image made here byte by byte, so that the benchmarks
 * need no compiler. Entered by PVH (Xen's "x86/HVM direct boot ABI"); ends through port 0xf4.
 */

const load = 0x100000;
const pml4 = load + 0x1000;
const pdpt = load + 0x2000;
const pd = load + 0x3000;
const gdt = load + 0x800;
const gdtPointer = load + 0x820;
const imageSize = 0x4000;
const headerSize = 0x1000;

const u32 = (value) => [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, (value >>> 24) & 255];
const u64 = (value) => [...u32(Number(BigInt(value) & 0xffffffffn)), ...u32(Number(BigInt(value) >> 32n))];

/** 32-bit protected mode without paging to 64-bit mode. Intel SDM Vol. 3A, "Initializing IA-32e Mode". */
const toLongMode = (target) => [
  ...[0xb8, ...u32(pml4)], //                 mov eax, pml4
  ...[0x0f, 0x22, 0xd8], //                   mov cr3, eax
  ...[0x0f, 0x20, 0xe0], //                   mov eax, cr4
  ...[0x83, 0xc8, 0x20], //                   or eax, CR4.PAE
  ...[0x0f, 0x22, 0xe0], //                   mov cr4, eax
  ...[0xb9, ...u32(0xc0000080)], //           mov ecx, IA32_EFER
  ...[0x0f, 0x32], //                         rdmsr
  ...[0x0d, ...u32(0x100)], //                or eax, EFER.LME
  ...[0x0f, 0x30], //                         wrmsr
  ...[0x0f, 0x20, 0xc0], //                   mov eax, cr0
  ...[0x0d, ...u32(0x80000000)], //           or eax, CR0.PG
  ...[0x0f, 0x22, 0xc0], //                   mov cr0, eax
  ...[0x0f, 0x01, 0x15, ...u32(gdtPointer)], // lgdt [gdtPointer]
  ...[0xea, ...u32(target), 0x08, 0x00], //   jmp 0x08:target
];

const setUp = (count) => [
  ...[0xb8, ...u32(0x10), 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0], // mov eax, 0x10; mov ds, eax; mov es, eax; mov ss, eax
  ...[0xbc, ...u32(0x600000)], // mov esp, 0x600000
  ...[0xbe, ...u32(0x400000)], // mov esi, 0x400000
  ...[0xb8, ...u32(1)], //        mov eax, 1
  ...[0xbb, ...u32(3)], //        mov ebx, 3
  ...[0x31, 0xc9], //             xor ecx, ecx
  ...[0x48, 0xba, ...u64(count)], // mov rdx, count
];

/**
 * What goes round: machine code for 64-bit mode that leaves rdx and rsi as they are. It starts with rax 1, rbx 3, rcx 0, rsi
 * at 4 MiB of zeros, a stack below 6 MiB, everything below 32 MiB writable.
 * @typedef {{ prepare: readonly number[], body: readonly number[] }} Loop `prepare` runs once
 */

/** The loop of the interpreter benchmark; the count's two instructions belong to its 8. */
export const plainLoop = {
  prepare: [],
  body: [
    ...[0x48, 0x01, 0xd8], //                   add rax, rbx
    ...[0x48, 0x89, 0x04, 0xce], //             mov [rsi + rcx * 8], rax
    ...[0x48, 0x8b, 0x7c, 0xce, 0x08], //       mov rdi, [rsi + rcx * 8 + 8]
    ...[0x48, 0x31, 0xc7], //                   xor rdi, rax
    ...[0x48, 0xff, 0xc1], //                   inc rcx
    ...[0x48, 0x81, 0xe1, ...u32(0xfff)], //    and rcx, 0xfff
  ],
};
const countDown = [0x48, 0xff, 0xca]; //        dec rdx

/** jnz back over `length` bytes, short where it fits. */
const jumpBack = (length) => (length + 2 <= 128 ? [0x75, 256 - length - 2] : [0x0f, 0x85, ...u32(-length - 6)]);

const theEnd = [0x31, 0xc0, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd]; // xor eax, eax; out 0xf4, al; hlt; jmp to the hlt

/** Instructions of one round of the plain loop. */
export const loopLength = 8;

/**
 * Makes the guest.
 * @param {number} count rounds of the loop, 1 to 2^53
 * @param {Loop} [what] what goes round
 * @returns {{ elf: Uint8Array, loop: number }} the image, and the address of the loop's first instruction. In the plain loop
 *   rax is 1 + 3n there in round n, never 0.
 */
export function makeLoopGuest(count, what = plainLoop) {
  const long = load + toLongMode(0).length;
  const code = [...toLongMode(long), ...setUp(count), ...what.prepare];
  const loop = load + code.length;
  const round = [...what.body, ...countDown];
  const image = new Uint8Array(headerSize + imageSize);
  const view = new DataView(image.buffer);
  const put = (address, bytes) => image.set(bytes, headerSize + address - load);
  const program = [...code, ...round, ...jumpBack(round.length), ...theEnd];
  if (program.length > gdt - load) throw new RangeError(`${program.length} bytes of code, at most ${gdt - load}`);
  put(load, program);
  // 64-bit code, data. Intel SDM Vol. 3A, "Segment Descriptors".
  put(gdt, [...u64(0), ...u64(0x00af9b000000ffffn), ...u64(0x00cf93000000ffffn)]);
  put(gdtPointer, [23, 0, ...u32(gdt)]);
  // The first 32 MiB, each address to itself, in 2 MiB pages: present, writable, page size.
  put(pml4, u64(pdpt | 3));
  put(pdpt, u64(pd | 3));
  for (let page = 0; page < 16; page++) put(pd + page * 8, u64((page * 0x200000) | 0x83));

  // ELF-64 header, one PT_LOAD, one PT_NOTE with XEN_ELFNOTE_PHYS32_ENTRY (18).
  const note = 0x100;
  image.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 62, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(load), true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 2, true);
  const header = (at, type, flags, offset, address, size) => {
    view.setUint32(at, type, true);
    view.setUint32(at + 4, flags, true);
    [offset, address, address, size, size, 4].forEach((value, index) => {
      view.setBigUint64(at + 8 + index * 8, BigInt(value), true);
    });
  };
  header(64, 1, 7, headerSize, load, imageSize);
  header(120, 4, 4, note, 0, 20);
  image.set([...u32(4), ...u32(4), ...u32(18), 0x58, 0x65, 0x6e, 0, ...u32(load)], note);
  return { elf: image, loop };
}
