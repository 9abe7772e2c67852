import { strict as assert } from 'node:assert';
import {
  cpuid,
  describeLeaf,
  makeCpuModel,
  type CpuidContext,
  type CpuidResult,
} from '../../../emulator-core/cpu/cpuid';
import { CPU_MODELS } from '../../../emulator-core/cpu/cpuModels';

const context: CpuidContext = { apicId: 0, cpus: 1, cr4: 0, xcr0: 1, xss: 0, tscHz: 2e9, crystalHz: 1e9 };
const NOTHING: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

function text(...registers: number[]): string {
  return registers
    .flatMap((value) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff))
    .filter((code) => code !== 0)
    .map((code) => String.fromCharCode(code))
    .join('');
}

describe('CPUID', () => {
  const intel = makeCpuModel('intel');
  const amd = makeCpuModel('amd');
  const read = (leaf: number, subleaf = 0, more: Partial<CpuidContext> = {}, model = intel): CpuidResult =>
    cpuid(model, leaf, subleaf, { ...context, ...more });

  it('vendor and maximum leaves', () => {
    const { eax, ebx, ecx, edx } = read(0);
    assert.equal(eax, 0x16);
    assert.equal(text(ebx, edx, ecx), 'GenuineIntel');
    // SDM Vol. 2A, CPUID, "INPUT EAX = 0": 'Genu' 'ineI' 'ntel'.
    assert.deepEqual([ebx, edx, ecx], [0x756e6547, 0x49656e69, 0x6c65746e]);
    const a = read(0, 0, {}, amd);
    assert.equal(text(a.ebx, a.edx, a.ecx), 'AuthenticAMD');
    assert.equal(read(0x80000000).eax, 0x80000008);
    assert.equal(read(0x80000000, 0, {}, amd).eax, 0x8000001e);
    const e = read(0x80000000, 0, {}, amd);
    assert.equal(text(e.ebx, e.edx, e.ecx), 'AuthenticAMD');
  });

  it('no model is a processor with AVX-512, which code for that processor may use without asking', () => {
    // GCC, gcc/common/config/i386/cpuinfo.h: the models of skylake-avx512 and later, knl and knm; znver4 and later.
    const intelModels = [0x55, 0x57, 0x66, 0x6a, 0x6c, 0x7d, 0x7e, 0x85, 0x8c, 0x8d, 0x8f, 0xa7, 0xad, 0xae, 0xcf];
    const isAvx512 = (family: number, model: number): boolean =>
      family === 6
        ? intelModels.includes(model)
        : family > 0x19 || (family === 0x19 && ((model >= 0x10 && model <= 0x1f) || (model >= 0x60 && model <= 0xaf)));
    for (const [name, { signature }] of Object.entries(CPU_MODELS))
      for (const { family, model } of [signature.intel, signature.amd])
        assert.ok(!isAvx512(family, model), `${name}: family ${family} model ${model.toString(16)}`);
  });

  it('signature: Haswell 0x306c3, Zen 0x800f12', () => {
    assert.equal(read(1).eax, 0x306c3);
    assert.equal(read(1, 0, {}, amd).eax, 0x800f12);
    assert.equal(read(0x80000001, 0, {}, amd).eax, 0x800f12);
  });

  it('announces features at their bits', () => {
    // Leaf 1 EDX: FPU0 DE2 PSE3 TSC4 MSR5 PAE6 MCE7 CX8 8 APIC9 SEP11 MTRR12 PGE13 MCA14 CMOV15 PAT16 PSE-36 17 CLFSH19.
    const basic = 0x000bfbfd;
    assert.equal(read(1).edx & basic, basic);
    // Leaf 1 ECX: CMPXCHG16B13 PCID17 MOVBE22 POPCNT23, hypervisor 31; not VMX5.
    assert.equal((read(1).ecx & 0x80c22020) >>> 0, 0x80c22000);
    // Leaf 7 EBX: TSC_ADJUST1 SMEP7 INVPCID10 SMAP20; no AVX-512 (16 17 21 26 27 28 30 31).
    assert.equal((read(7).ebx & 0xdc330482) >>> 0, 0x00100482);
    assert.equal(read(7).eax, 0);
    // Leaf 7 EDX: ARCH_CAPABILITIES29.
    assert.equal(read(7).edx & (1 << 29), 1 << 29);
    assert.deepEqual(read(7, 1), NOTHING);
    // 0x80000001: SYSCALL11 NX20 Page1GB26 RDTSCP27 LM29; LAHF0 ABM5. 0x80000007: invariant TSC 8.
    assert.equal(read(0x80000001).edx & 0x3fffffff, 0x2c100800);
    assert.equal(read(0x80000001).ecx & 0x21, 0x21);
    assert.equal(read(0x80000007).edx, 0x100);
    assert.equal(read(6).eax, 4);
    // APM Vol. 3: AMD repeats leaf 1 EDX bits in 0x80000001 (SEP's place is SYSCALL, CLFSH's is not repeated).
    assert.equal(read(0x80000001, 0, {}, amd).edx & 0x0003f3fd, basic & 0x0003f3fd);
    // AMD: CMP_LEGACY1 with several cores, ExtApicSpace3 AltMovCr8 4 TopologyExtensions22.
    assert.equal(read(0x80000001, 0, {}, amd).ecx & 0x00400018, 0x00400018);
  });

  it('MISC_ENABLE limits leaf 0 and hides NX', () => {
    assert.equal(read(0, 0, { miscEnable: 1n << 22n }).eax, 2);
    assert.equal(read(0x80000001, 0, { miscEnable: 1n << 34n }).edx & (1 << 20), 0);
  });

  it('brand string in 48 bytes', () => {
    const parts = [0x80000002, 0x80000003, 0x80000004].map((leaf) => read(leaf));
    assert.equal(text(...parts.flatMap(({ eax, ebx, ecx, edx }) => [eax, ebx, ecx, edx])), 'Ringside Virtual CPU');
    assert.equal(parts[2].edx, 0);
  });

  it('APIC id, CLFLUSH line and processor count in leaf 1 EBX', () => {
    assert.equal(read(1).ebx, 0x00010800);
    const four = read(1, 0, { cpus: 3, apicId: 2 });
    assert.equal(four.ebx, 0x02040800);
    assert.equal((four.edx >>> 28) & 1, 1);
  });

  it('caches: leaf 4', () => {
    // 32 KB data: type 1, level 1, self-initializing; 8 ways, 64-byte lines, 64 sets.
    assert.deepEqual(read(4, 0), { eax: 0x121, ebx: 0x01c0003f, ecx: 63, edx: 0 });
    const size = (subleaf: number) => {
      const { ebx, ecx } = read(4, subleaf);
      return ((ebx >>> 22) + 1) * (((ebx >>> 12) & 0x3ff) + 1) * ((ebx & 0xfff) + 1) * (ecx + 1);
    };
    assert.deepEqual([0, 1, 2, 3].map(size), [32 << 10, 32 << 10, 256 << 10, 8 << 20]);
    assert.equal(read(4, 4).eax & 31, 0);
    assert.equal(read(4, 0, { cpus: 4 }).eax >>> 26, 3);
    assert.equal((read(4, 3, { cpus: 4 }).eax >>> 14) & 0xfff, 3);
    assert.equal(read(4, 0, {}, amd).eax, 0);
  });

  it('topology: leaf 0xb', () => {
    const at = (subleaf: number) => read(0xb, subleaf, { cpus: 3, apicId: 2 });
    assert.deepEqual(at(0), { eax: 0, ebx: 1, ecx: 0x100, edx: 2 });
    assert.deepEqual(at(1), { eax: 2, ebx: 3, ecx: 0x201, edx: 2 });
    assert.deepEqual(at(2), { eax: 0, ebx: 0, ecx: 2, edx: 2 });
  });

  it("AMD's caches and topology", () => {
    const at = (leaf: number, subleaf: number) => read(leaf, subleaf, { cpus: 3, apicId: 2 }, amd);
    // APM Vol. 3, "Function 8000_001D": type 1, level 1, self-initializing, one core; 64-byte lines, 8 ways, 64 sets.
    assert.deepEqual(at(0x8000001d, 0), { eax: 0x121, ebx: 0x01c0003f, ecx: 63, edx: 0 });
    assert.equal((at(0x8000001d, 3).eax >> 14) + 1, 4, 'the last level is shared');
    assert.equal(at(0x8000001d, 4).eax, 0);
    assert.deepEqual(at(0x8000001e, 0), { eax: 2, ebx: 2, ecx: 0, edx: 0 });
    assert.deepEqual(read(4, 0, {}, amd), NOTHING);
    assert.deepEqual(read(0x8000001e, 0), read(0x16), 'not on Intel');
  });

  it('clocks: TSC = crystal * EBX / EAX; leaf 0x16 in MHz', () => {
    const { eax, ebx, ecx } = read(0x15, 0, { tscHz: 2.5e9 });
    assert.equal((ecx * ebx) / eax, 2.5e9);
    assert.equal(ecx, 1e9);
    assert.deepEqual(read(0x15, 0, { crystalHz: undefined }), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
    assert.equal(read(0x16).eax, 2000);
  });

  it('address sizes', () => {
    assert.equal(read(0x80000008).eax, 40 | (48 << 8));
    assert.equal(read(0x80000008, 0, { cpus: 4 }, amd).ecx, 3 | (2 << 12));
  });

  it("leaves out of range: Intel gives the highest basic one, AMD zeros; the hypervisor range is its owner's", () => {
    assert.deepEqual(read(0x17), read(0x16));
    assert.deepEqual(read(0x80000009), read(0x16));
    assert.deepEqual(read(0xffffffff, 0, {}, amd), NOTHING);
    assert.deepEqual(read(0x40000000), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
    const bare = makeCpuModel('intel', ['-hypervisor']);
    assert.equal(read(1, 0, {}, bare).ecx >>> 31, 0);
    assert.deepEqual(read(0x40000000, 0, {}, bare), read(0x16));
    const kvm = makeCpuModel('intel', [], undefined, (leaf) => ({ eax: leaf, ebx: -1, ecx: 0, edx: 0 }));
    assert.deepEqual(read(0x40000001, 0, {}, kvm), { eax: 0x40000001, ebx: 0xffffffff, ecx: 0, edx: 0 });
  });

  it('XSAVE leaf of a processor that has it', () => {
    const wide = ['fxsr', 'sse', 'xsave', 'avx', 'xsaveopt', 'xsavec', 'xsaves', 'xgetbv1'];
    const model = { ...intel, features: new Set([...intel.features, ...wide]) };
    const at = (subleaf: number, more: Partial<CpuidContext> = {}, from = model) =>
      cpuid(from, 0xd, subleaf, { ...context, ...more });
    // x87, SSE and AVX: 512 legacy + 64 header + 256.
    assert.deepEqual(at(0, { xcr0: 7 }), { eax: 7, ebx: 832, ecx: 832, edx: 0 });
    assert.equal(at(0, { xcr0: 1 }).ebx, 576);
    assert.deepEqual(at(2), { eax: 256, ebx: 576, ecx: 0, edx: 0 });
    assert.deepEqual(at(1, { xcr0: 7 }), { eax: 0xf, ebx: 832, ecx: 0, edx: 0 });
    assert.deepEqual(at(9), NOTHING);
    // With PKRU: 8 bytes at 2688 in the standard format, right behind AVX in the compacted one.
    const keyed = { ...model, features: new Set([...model.features, 'pku']) };
    assert.deepEqual(at(0, { xcr0: 0x207 }, keyed), { eax: 0x207, ebx: 2696, ecx: 2696, edx: 0 });
    assert.equal(at(1, { xcr0: 0x207 }, keyed).ebx, 840);
    assert.equal(at(1, { xcr0: 0x203 }, keyed).ebx, 584);
    assert.deepEqual(at(9, {}, keyed), { eax: 8, ebx: 2688, ecx: 0, edx: 0 });
    // OSXSAVE follows CR4 bit 18, OSPKE CR4 bit 22.
    assert.equal(cpuid(model, 1, 0, context).ecx & (1 << 27), 0);
    assert.notEqual(cpuid(model, 1, 0, { ...context, cr4: 1 << 18 }).ecx & (1 << 27), 0);
    assert.equal(cpuid(keyed, 7, 0, context).ecx & 0x18, 8);
    assert.equal(cpuid(keyed, 7, 0, { ...context, cr4: 1 << 22 }).ecx & 0x18, 0x18);
    assert.deepEqual(at(0, {}, { ...intel, features: new Set(['fpu']) }), NOTHING);
  });

  it('hides a local APIC that IA32_APIC_BASE disables', () => {
    const bit = (leaf: number, model: typeof intel, apicDisabled: boolean) =>
      (read(leaf, 0, { apicDisabled }, model).edx >>> 9) & 1;
    assert.deepEqual([bit(1, intel, false), bit(1, intel, true)], [1, 0]);
    assert.deepEqual([bit(0x80000001, amd, false), bit(0x80000001, amd, true)], [1, 0]);
  });

  it('describes an answer', () => {
    const field = describeLeaf(1, 0, read(1));
    assert.equal(field.text, 'Version and features');
    assert.equal(field.children?.[0].text, 'family 0x06 model 0x3c stepping 3');
    assert.match(field.children?.[2].text ?? '', /\bcx16\b.* hypervisor$/);
    assert.equal(describeLeaf(0, 0, read(0)).children?.[1].text, "'Genu'");
    assert.equal(describeLeaf(0x123, 0, { eax: 0, ebx: 0, ecx: 0, edx: 0 }).text, undefined);
  });
});
