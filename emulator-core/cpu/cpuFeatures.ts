/**
 * Processor features: where CPUID announces each, what it needs, and which ones the embedded processor has. Named models are in
 * cpuModels.ts.
 * Sources: Intel SDM Vol. 2A, CPUID; AMD APM Vol. 3, Appendix E "Obtaining Processor Information Via the CPUID Instruction".
 */

export type CpuidRegister = 'eax' | 'ebx' | 'ecx' | 'edx';

export interface CpuFeature {
  /** As launch.json spells it after + or -. */
  readonly name: string;
  readonly leaf: number;
  readonly subleaf: number;
  readonly register: CpuidRegister;
  readonly bit: number;
  /** Features without which this one makes no sense: turned on with it, and it is turned off with any of them. */
  readonly implies: readonly string[];
}

/** One register of feature bits: [leaf, subleaf, register, 'bit:name:implied,implied ...']. */
const REGISTERS: readonly (readonly [number, number, CpuidRegister, string])[] = [
  [
    1,
    0,
    'edx',
    `0:fpu 1:vme 2:de 3:pse 4:tsc 5:msr 6:pae 7:mce 8:cx8 9:apic:msr 11:sep:msr 12:mtrr:msr 13:pge 14:mca:mce 15:cmov
     16:pat:mtrr 17:pse36:pse 18:pn 19:clflush 21:dts 22:acpi 23:mmx:fpu 24:fxsr:fpu 25:sse:fxsr 26:sse2:sse 27:ss
     28:ht 29:tm 31:pbe`,
  ],
  [
    1,
    0,
    'ecx',
    `0:sse3:sse2 1:pclmulqdq:sse2 2:dtes64:dts 3:monitor 4:ds_cpl:dts 5:vmx:msr 6:smx:vmx 7:est 8:tm2 9:ssse3:sse3
     12:fma:avx 13:cx16:cx8 14:xtpr 15:pdcm 17:pcid:lm 18:dca 19:sse4_1:ssse3 20:sse4_2:sse4_1 21:x2apic:apic
     22:movbe 23:popcnt 24:tsc_deadline:apic,tsc 25:aes:sse2 26:xsave:fxsr 28:avx:xsave,sse4_2 29:f16c:avx 30:rdrand
     31:hypervisor`,
  ],
  [6, 0, 'eax', '2:arat:apic'],
  [
    7,
    0,
    'ebx',
    `0:fsgsbase:lm 1:tsc_adjust:tsc,msr 3:bmi1 4:hle 5:avx2:avx 7:smep:pae 8:bmi2 9:erms 10:invpcid:pcid 11:rtm
     16:avx512f:avx2 17:avx512dq:avx512f 18:rdseed 19:adx 20:smap:pae 21:avx512ifma:avx512f 23:clflushopt:clflush 24:clwb
     25:intel_pt 28:avx512cd:avx512f 29:sha:sse2 30:avx512bw:avx512f 31:avx512vl:avx512f`,
  ],
  [
    7,
    0,
    'ecx',
    `1:avx512vbmi:avx512bw 2:umip 3:pku:pae 5:waitpkg 6:avx512_vbmi2:avx512bw 7:shstk 8:gfni:sse2 9:vaes:avx,aes
     10:vpclmulqdq:avx,pclmulqdq 11:avx512_vnni:avx512f 12:avx512_bitalg:avx512bw 14:avx512_vpopcntdq:avx512f 16:la57:lm
     22:rdpid 25:cldemote 27:movdiri 28:movdir64b 31:pks:pae`,
  ],
  [
    7,
    0,
    'edx',
    '4:fsrm 10:md_clear 14:serialize 20:ibt 26:spec_ctrl:msr 27:stibp:spec_ctrl 28:flush_l1d:msr 29:arch_capabilities:msr 31:ssbd:spec_ctrl',
  ],
  [0xd, 1, 'eax', '0:xsaveopt:xsave 1:xsavec:xsave 2:xgetbv1:xsave 3:xsaves:xsavec'],
  [
    0x80000001,
    0,
    'edx',
    '11:syscall:msr 20:nx:pae 22:mmxext:mmx 25:fxsr_opt:fxsr 26:pdpe1gb:lm 27:rdtscp:tsc 29:lm:pae,msr 30:3dnowext:3dnow 31:3dnow:mmx',
  ],
  [
    0x80000001,
    0,
    'ecx',
    '0:lahf_lm:lm 1:cmp_legacy 2:svm:msr 3:extapic:apic 4:cr8_legacy 5:abm 6:sse4a:sse3 7:misalignsse:sse 8:3dnowprefetch 9:osvw 22:topoext',
  ],
  [0x80000007, 0, 'edx', '8:invtsc:tsc'],
  [0x80000008, 0, 'ebx', '0:clzero 9:wbnoinvd'],
  [
    0x8000000a,
    0,
    'edx',
    '0:npt:svm 1:lbrv:svm 2:svm_lock:svm 3:nrip_save:svm 4:tsc_scale:svm 5:vmcb_clean:svm 6:flushbyasid:svm 7:decodeassists:svm 10:pausefilter:svm',
  ],
];

export const CPU_FEATURES: readonly CpuFeature[] = REGISTERS.flatMap(([leaf, subleaf, register, bits]) =>
  bits.split(/\s+/).map((text) => {
    const [bit, name, implies] = text.split(':');
    return { name, leaf, subleaf, register, bit: Number(bit), implies: implies ? implies.split(',') : [] };
  }),
);
const BY_NAME = new Map(CPU_FEATURES.map((feature) => [feature.name, feature]));

/**
 * What the core does: nothing else can be announced. A feature belongs here once every instruction of it has a row (a test
 * compares them), and with it what it implies.
 */
export const CORE_FEATURES: readonly string[] = [
  // No instructions of their own, or instructions that are always there.
  'fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush cx16 hypervisor x2apic tsc_deadline arat tsc_adjust',
  'smep smap pcid invpcid pku la57 spec_ctrl stibp ssbd flush_l1d arch_capabilities syscall nx pdpe1gb rdtscp lm lahf_lm invtsc',
  'umip pks erms fsrm cmp_legacy extapic cr8_legacy topoext',
  // Instruction sets.
  'fsgsbase popcnt movbe abm bmi1 bmi2 adx rdrand rdseed rdpid movdiri movdir64b serialize',
  'monitor clflushopt clwb cldemote clzero wbnoinvd 3dnowprefetch',
  'mmx mmxext sse sse2 sse3 ssse3 sse4_1 sse4_2 avx avx2 fma f16c aes pclmulqdq sha vaes vpclmulqdq',
  'fxsr xsave xsaveopt xsavec xgetbv1 xsaves',
].flatMap((line) => line.split(' '));

/** What only one vendor's processors announce: 'max' leaves out the other's. */
const VENDOR_FEATURES: Record<'intel' | 'amd', readonly string[]> = {
  intel: ['tsc_deadline', 'spec_ctrl', 'stibp', 'ssbd', 'flush_l1d', 'arch_capabilities', 'serialize', 'pks'],
  amd: [
    'mmxext', 'fxsr_opt', 'cmp_legacy', 'extapic', 'cr8_legacy', 'sse4a', 'misalignsse', 'topoext', 'clzero', 'svm', 'npt', '3dnow', '3dnowext',
  ],
}; // prettier-ignore

/** The core's features that a processor of `vendor` can have. */
export function coreFeatures(vendor: 'intel' | 'amd'): string[] {
  const foreign = VENDOR_FEATURES[vendor === 'intel' ? 'amd' : 'intel'];
  return CORE_FEATURES.filter((name) => !foreign.includes(name));
}

/** Adds `name` and what it implies. */
function turnOn(features: Set<string>, name: string): void {
  if (features.has(name)) return;
  features.add(name);
  for (const implied of BY_NAME.get(name)?.implies ?? []) turnOn(features, implied);
}

/** Removes `name` and what needs it. */
function turnOff(features: Set<string>, name: string): void {
  features.delete(name);
  for (const feature of CPU_FEATURES) {
    if (features.has(feature.name) && feature.implies.includes(name)) turnOff(features, feature.name);
  }
}

/**
 * `base` (what a named model has; what the core does not do is left out), then launch.json's cpu.features in order: '+name' turns on
 * with what it implies, '-name' off with what needs it. Case does not matter; '-' and '.' inside a name mean '_'.
 * Error, naming entry and attribute, for an entry without sign, an unknown name (with the nearest one), or one that the
 * embedded processor, or any of this vendor's, does not have.
 */
export function parseFeatures(
  vendor: 'intel' | 'amd',
  base: readonly string[],
  list: readonly string[],
  attribute = 'cpu.features',
): Set<string> {
  const features = new Set<string>();
  const possible = coreFeatures(vendor);
  for (const name of base) if (possible.includes(name)) turnOn(features, name);
  for (const entry of list) {
    const sign = entry[0];
    const name = entry.slice(1).trim().toLowerCase().replace(/[-.]/g, '_');
    if (sign !== '+' && sign !== '-') {
      throw new Error(`${attribute}: '${entry}' must begin with + or -, as in '+${nearestFeature(entry) ?? 'x2apic'}'`);
    }
    if (!BY_NAME.has(name)) {
      const near = nearestFeature(name);
      throw new Error(
        `${attribute}: no CPU feature is called '${entry.slice(1)}'${near ? `; did you mean '${sign}${near}'?` : ''}`,
      );
    }
    if (sign === '-') turnOff(features, name);
    else if (possible.includes(name)) turnOn(features, name);
    else {
      const all = possible.sort().join(', ');
      if (CORE_FEATURES.includes(name)) {
        const others = vendor === 'intel' ? 'AMD' : 'Intel';
        throw new Error(
          `${attribute}: only ${others} processors have '${name}', this one is '${vendor}'; it has ${all}`,
        );
      }
      const why = name.startsWith('avx512') ? ' (AVX-512 is left out)' : '';
      throw new Error(`${attribute}: the embedded processor has no '${name}'${why}; it has ${all}`);
    }
  }
  return features;
}

/** The feature name nearest in spelling, or undefined when none is near. */
function nearestFeature(name: string): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(name.length / 3)) + 1;
  const wanted = name.toLowerCase().replaceAll('-', '_').slice(0, 40);
  for (const feature of CPU_FEATURES) {
    const d = editDistance(wanted, feature.name);
    if (d < bestDistance) {
      bestDistance = d;
      best = feature.name;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
