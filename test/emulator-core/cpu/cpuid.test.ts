import { strict as assert } from 'node:assert';
import {
  BASE_FEATURES,
  cpuid,
  cpuidHas,
  CPU_FEATURES,
  describeLeaf,
  makeCpuModel,
  OPTIONAL_FEATURES,
  parseFeatures,
  type CpuidContext,
  type CpuidResult,
} from '../../../emulator-core/cpu/cpuid';

const context: CpuidContext = { apicId: 0, cpus: 1, cr4: 0, xcr0: 1, tscHz: 2e9, crystalHz: 1e9 };

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
    const e = read(0x80000000, 0, {}, amd);
    assert.equal(text(e.ebx, e.edx, e.ecx), 'AuthenticAMD');
  });

  it('signature: Skylake 0x506e3, Zen 0x800f12', () => {
    assert.equal(read(1).eax, 0x506e3);
    assert.equal(read(1, 0, {}, amd).eax, 0x800f12);
    assert.equal(read(0x80000001, 0, {}, amd).eax, 0x800f12);
  });

  it('announces exactly what the core does', () => {
    // Leaf 1 EDX: FPU0 DE2 PSE3 TSC4 MSR5 PAE6 CX8 APIC9 SEP11 MTRR12 PGE13 CMOV15 PAT16 PSE-36 17 CLFSH19.
    assert.equal(read(1).edx, 0x000bbb7d);
    // Leaf 1 ECX: CMPXCHG16B13 POPCNT23, hypervisor 31.
    assert.equal(read(1).ecx, 0x80802000);
    assert.deepEqual(read(7), { eax: 0, ebx: 2, ecx: 0, edx: 0 });
    assert.deepEqual(read(7, 1), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
    // 0x80000001: SYSCALL11 NX20 RDTSCP27 LM29; LAHF 0. 0x80000007: invariant TSC 8.
    assert.equal(read(0x80000001).edx, 0x28100800);
    assert.equal(read(0x80000001).ecx, 1);
    assert.equal(read(0x80000007).edx, 0x100);
    assert.equal(read(6).eax, 4);
    assert.deepEqual(read(0xd), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
    // APM Vol. 3: AMD repeats leaf 1 EDX bits in 0x80000001 (SEP's place is SYSCALL, CLFSH's is not repeated).
    assert.equal(read(0x80000001, 0, {}, amd).edx, 0x28100800 | 0x0003b37d);
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
    assert.deepEqual(read(0xffffffff, 0, {}, amd), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
    assert.deepEqual(read(0x40000000), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
    const bare = makeCpuModel('intel', ['-hypervisor']);
    assert.equal(read(1, 0, {}, bare).ecx >>> 31, 0);
    assert.deepEqual(read(0x40000000, 0, {}, bare), read(0x16));
    const kvm = makeCpuModel('intel', [], (leaf) => ({ eax: leaf, ebx: -1, ecx: 0, edx: 0 }));
    assert.deepEqual(read(0x40000001, 0, {}, kvm), { eax: 0x40000001, ebx: 0xffffffff, ecx: 0, edx: 0 });
  });

  it('XSAVE leaf of a processor that has it', () => {
    const model = { ...intel, features: new Set([...intel.features, 'fxsr', 'sse', 'xsave', 'avx']) };
    // x87, SSE and AVX: 512 legacy + 64 header + 256.
    assert.deepEqual(cpuid(model, 0xd, 0, { ...context, xcr0: 7 }), { eax: 7, ebx: 832, ecx: 832, edx: 0 });
    assert.equal(cpuid(model, 0xd, 0, { ...context, xcr0: 1 }).ebx, 576);
    assert.deepEqual(cpuid(model, 0xd, 2, context), { eax: 256, ebx: 576, ecx: 0, edx: 0 });
    // OSXSAVE follows CR4 bit 18.
    assert.equal(cpuid(model, 1, 0, context).ecx & (1 << 27), 0);
    assert.notEqual(cpuid(model, 1, 0, { ...context, cr4: 1 << 18 }).ecx & (1 << 27), 0);
  });

  it('describes an answer', () => {
    const field = describeLeaf(1, 0, read(1));
    assert.equal(field.text, 'Version and features');
    assert.equal(field.children?.[0].text, 'family 0x06 model 0x5e stepping 3');
    assert.equal(field.children?.[2].text, 'cx16 popcnt hypervisor');
    assert.equal(describeLeaf(0, 0, read(0)).children?.[1].text, "'Genu'");
    assert.equal(describeLeaf(0x123, 0, { eax: 0, ebx: 0, ecx: 0, edx: 0 }).text, undefined);
  });
});

describe('CPU features', () => {
  it('table: one bit, one name; implied ones exist', () => {
    const places = CPU_FEATURES.map((f) => `${f.leaf}/${f.subleaf}/${f.register}/${f.bit}`);
    assert.equal(new Set(places).size, places.length);
    const names = new Set(CPU_FEATURES.map((f) => f.name));
    assert.equal(names.size, places.length);
    for (const feature of CPU_FEATURES) {
      for (const implied of feature.implies) assert.ok(names.has(implied), `${feature.name}: ${implied}`);
    }
    for (const name of [...BASE_FEATURES, ...OPTIONAL_FEATURES]) assert.ok(names.has(name), name);
    assert.deepEqual([...parseFeatures([])].sort(), [...BASE_FEATURES].sort(), 'the base list is closed');
  });

  it("bits are the SDM's", () => {
    const at = (name: string) => {
      const feature = CPU_FEATURES.find((f) => f.name === name)!;
      return [feature.leaf, feature.register, feature.bit];
    };
    assert.deepEqual(at('vmx'), [1, 'ecx', 5]);
    assert.deepEqual(at('x2apic'), [1, 'ecx', 21]);
    assert.deepEqual(at('tsc_deadline'), [1, 'ecx', 24]);
    assert.deepEqual(at('svm'), [0x80000001, 'ecx', 2]);
    assert.deepEqual(at('pdpe1gb'), [0x80000001, 'edx', 26]);
    assert.deepEqual(at('smap'), [7, 'ebx', 20]);
    assert.deepEqual(at('umip'), [7, 'ecx', 2]);
    assert.deepEqual(at('la57'), [7, 'ecx', 16]);
  });

  it('plus, minus and what hangs on them', () => {
    assert.ok(parseFeatures(['+x2apic']).has('x2apic'));
    const noApic = parseFeatures(['+x2apic', '+TSC-deadline', '-apic']);
    for (const name of ['apic', 'x2apic', 'tsc_deadline', 'arat']) assert.ok(!noApic.has(name), name);
    const noPae = parseFeatures(['-pae']);
    for (const name of ['lm', 'nx', 'lahf_lm']) assert.ok(!noPae.has(name), name);
    assert.ok(cpuidHas(makeCpuModel('amd'), 'amd'));
    assert.ok(!cpuidHas(makeCpuModel('amd'), 'intel'));
  });

  it('errors name the attribute and the nearest feature', () => {
    assert.throws(
      () => parseFeatures(['+x2apci']),
      /cpu\.features: no CPU feature is called 'x2apci'; did you mean '\+x2apic'\?/,
    );
    assert.throws(() => parseFeatures(['x2apic']), /cpu\.features: 'x2apic' must begin with \+ or -/);
    assert.throws(() => parseFeatures(['']), /must begin with/);
    assert.throws(() => parseFeatures(['+zzzzzzzzzzzz']), /called 'zzzzzzzzzzzz'$/);
    assert.throws(
      () => parseFeatures(['+avx512f']),
      /cpu\.features: the embedded processor has no 'avx512f'; it has .*apic/,
    );
  });
});
