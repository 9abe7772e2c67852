/**
 * Named processor models: what launch.json's cpu.model picks. A model is a list of features and, for each vendor, whose signature it
 * carries. Levels v2 and v3 are the x86-64 psABI's ("Micro-Architecture Levels"), with what processors of that age have besides.
 */
import { coreFeatures } from './cpuFeatures';

export type CpuVendor = 'intel' | 'amd';
export const CPU_MODEL_NAMES = ['x86-64-v2', 'x86-64-v3', 'max'] as const;
export type CpuModelName = (typeof CPU_MODEL_NAMES)[number];

/**
 * What today's distributions and their user space are built for, on a processor whose paging features a current kernel knows and
 * uses. MONITOR (with it an idle guest would no longer halt), 5-level paging, protection keys, x2APIC and the TSC deadline timer are
 * for who asks for them: they change what a debugger shows without making a guest run that would not run otherwise.
 */
export const DEFAULT_MODEL: CpuModelName = 'x86-64-v3';

/** Display family, model and stepping, extended parts added. */
export interface CpuSignature {
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
}

export interface NamedModel {
  readonly text: string;
  features(vendor: CpuVendor): readonly string[];
  readonly signature: Record<CpuVendor, CpuSignature>;
}

const V2 = (
  'fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 sse3 ssse3 cx16 sse4_1 sse4_2 ' +
  'popcnt hypervisor arat tsc_adjust arch_capabilities syscall nx rdtscp lm lahf_lm invtsc'
).split(' ');

/** REP MOVSB is not the fastest way to copy here, so ERMS and FSRM are left to 'max'. */
const V3 = [
  ...V2,
  ...(
    'avx avx2 bmi1 bmi2 f16c fma abm movbe xsave xsaveopt xsavec xgetbv1 aes pclmulqdq rdrand rdseed adx fsgsbase smep smap pcid ' +
    'invpcid pdpe1gb clflushopt 3dnowprefetch'
  ).split(' '),
];

/** What every processor of the vendor announces besides. */
const ALWAYS: Record<CpuVendor, readonly string[]> = {
  intel: [],
  amd: ['mmxext', 'fxsr_opt', 'cmp_legacy', 'extapic', 'cr8_legacy', 'misalignsse', 'topoext'],
};
const withVendor =
  (list: readonly string[]) =>
  (vendor: CpuVendor): readonly string[] => {
    const possible = new Set(coreFeatures(vendor));
    return [...list, ...ALWAYS[vendor]].filter((name) => possible.has(name));
  };

export const CPU_MODELS: Record<CpuModelName, NamedModel> = {
  'x86-64-v2': {
    text: 'SSE4.2 and POPCNT; no AVX',
    features: withVendor(V2),
    // Nehalem; Bulldozer.
    signature: { intel: { family: 6, model: 0x1a, stepping: 5 }, amd: { family: 0x15, model: 1, stepping: 2 } },
  },
  'x86-64-v3': {
    text: 'AVX2, FMA and BMI; SMEP, SMAP, PCID and 1-GByte pages',
    features: withVendor(V3),
    // Haswell, the first with that level, and before those that Linux takes to be open to RETBleed; Zen.
    signature: { intel: { family: 6, model: 0x3c, stepping: 3 }, amd: { family: 0x17, model: 1, stepping: 2 } },
  },
  max: {
    text: 'everything that the embedded processor does',
    features: coreFeatures,
    // Haswell; Zen 3. Later ones have AVX-512, which programs made by GCC with target_clones use by the model alone.
    signature: { intel: { family: 6, model: 0x3c, stepping: 3 }, amd: { family: 0x19, model: 0x21, stepping: 0 } },
  },
};

/** The lists of v2 and v3, whether the core does all of it or not. */
export const LEVEL_FEATURES: Record<'x86-64-v2' | 'x86-64-v3', readonly string[]> = {
  'x86-64-v2': V2,
  'x86-64-v3': V3,
};

/** `text` as a model's name; Error that names attribute and choices. */
export function parseModelName(text: string, attribute = 'cpu.model'): CpuModelName {
  const name = CPU_MODEL_NAMES.find((each) => each === text);
  if (!name) throw new Error(`${attribute}: no CPU model is called '${text}'; there are ${CPU_MODEL_NAMES.join(', ')}`);
  return name;
}
