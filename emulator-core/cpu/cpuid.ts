/**
 * CPUID: one table of leaves over a processor model.
 * Sources: Intel SDM Vol. 2A, CPUID; AMD APM Vol. 3, Appendix E. Register values are unsigned 32-bit numbers.
 */
import { hex, type Field } from '../fields';
import { CPU_FEATURES, parseFeatures, type CpuidRegister } from './cpuFeatures';
import { CPU_MODELS, DEFAULT_MODEL, parseModelName, type CpuSignature, type CpuVendor } from './cpuModels';
import { MiscEnable } from './msrs';
import { STATE_COMPONENTS, compactedSize, standardSize, supportedComponents } from './stateComponents';
import { Cr4 } from './vcpu';

export { parseFeatures, CPU_FEATURES, CORE_FEATURES } from './cpuFeatures';
export type { CpuVendor } from './cpuModels';

export interface CpuidResult {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

export interface CpuModel extends CpuSignature {
  readonly vendor: CpuVendor;
  /** At most 47 characters. */
  readonly brand: string;
  readonly features: ReadonlySet<string>;
  /** Physical- and linear-address widths in bits. */
  readonly maxPhysicalAddress: number;
  readonly maxLinearAddress: number;
  /** Leaves 0x40000000 and up, by whoever offers the guest a hypervisor interface. Absent: they read as zero. */
  readonly hypervisorLeaf?: (leaf: number, subleaf: number) => CpuidResult;
}

/** What the answer depends on besides the model. */
export interface CpuidContext {
  apicId: number;
  /** vCPUs of the machine: each is one core of one package. */
  cpus: number;
  cr4: number;
  xcr0: number;
  xss: number;
  tscHz: number;
  /** IA32_APIC_BASE.EN is clear: the processor says that it has no local APIC. */
  apicDisabled?: boolean;
  /** IA32_MISC_ENABLE; absent: nothing of CPUID is limited by it. */
  miscEnable?: bigint;
  /** Frequency of the core crystal clock, which also drives the local APIC timer. Absent: leaf 0x15 says nothing. */
  crystalHz?: number;
}

/**
 * The guest's processor: a named model, with launch.json's cpu.features applied. Errors as parseFeatures and parseModelName give
 * them.
 */
export function makeCpuModel(
  vendor: CpuVendor,
  features: readonly string[] = [],
  name: string = DEFAULT_MODEL,
  hypervisorLeaf?: CpuModel['hypervisorLeaf'],
): CpuModel {
  const named = CPU_MODELS[parseModelName(name)];
  const on = parseFeatures(vendor, named.features(vendor), features);
  return {
    vendor,
    ...named.signature[vendor],
    brand: 'Ringside Virtual CPU',
    features: on,
    maxPhysicalAddress: 40,
    maxLinearAddress: on.has('la57') ? 57 : 48,
    ...(hypervisorLeaf ? { hypervisorLeaf } : {}),
  };
}

/** True when the model has the feature; 'intel' and 'amd' ask for the vendor. */
export function cpuidHas(model: CpuModel, feature: string): boolean {
  return model.features.has(feature) || model.vendor === feature;
}

/** CR4 bits that each feature brings. SDM Vol. 3A, "Control Registers". */
const CR4_FEATURES: readonly (readonly [feature: string, bits: number])[] = [
  ['vme', Cr4.VME | Cr4.PVI], ['tsc', Cr4.TSD], ['de', Cr4.DE], ['pse', Cr4.PSE], ['pae', Cr4.PAE], ['mce', Cr4.MCE], ['pge', Cr4.PGE],
  ['fxsr', Cr4.OSFXSR], ['sse', Cr4.OSXMMEXCPT], ['umip', Cr4.UMIP], ['la57', Cr4.LA57], ['fsgsbase', Cr4.FSGSBASE], ['pcid', Cr4.PCIDE],
  ['xsave', Cr4.OSXSAVE], ['smep', Cr4.SMEP], ['smap', Cr4.SMAP], ['pku', Cr4.PKE], ['pks', Cr4.PKS],
]; // prettier-ignore

/** The CR4 bits that the guest may set; the others are reserved. RDPMC is always there, and so is PCE. */
export function cr4Allowed(model: CpuModel): number {
  let allowed: number = Cr4.PCE;
  for (const [feature, bits] of CR4_FEATURES) if (model.features.has(feature)) allowed |= bits;
  return allowed;
}

const VENDOR_STRINGS: Record<CpuVendor, string> = { intel: 'GenuineIntel', amd: 'AuthenticAMD' };

/** EDX of leaves 1 and, on AMD's processors, 80000001h. */
const APIC = 1 << 9;

type LeafFunction = (model: CpuModel, context: CpuidContext, subleaf: number) => Partial<CpuidResult>;

interface Leaf {
  readonly leaf: number;
  readonly name: string;
  /** Only with this vendor; on the other one the leaf reads as zero. */
  readonly vendor?: CpuVendor;
  readonly read: LeafFunction;
}

const CACHES = [
  // type (1 data, 2 instruction, 3 unified), level, ways, sets, shared by all cores
  { type: 1, level: 1, ways: 8, sets: 64, shared: false },
  { type: 2, level: 1, ways: 8, sets: 64, shared: false },
  { type: 3, level: 2, ways: 4, sets: 1024, shared: false },
  { type: 3, level: 3, ways: 16, sets: 8192, shared: true },
];
const LINE = 64;

const LEAVES: readonly Leaf[] = [
  {
    leaf: 0,
    name: 'Maximum basic leaf and vendor',
    read: (model, context) => {
      const [ebx, edx, ecx] = words(VENDOR_STRINGS[model.vendor], 3);
      const limited = ((context.miscEnable ?? 0n) & MiscEnable.limitCpuid) !== 0n;
      return { eax: limited ? 2 : maxBasicLeaf(model), ebx, ecx, edx };
    },
  },
  {
    leaf: 1,
    name: 'Version and features',
    read: (model, context) => {
      const result = featureBits(model, 1, 0);
      if (model.features.has('xsave') && context.cr4 & Cr4.OSXSAVE) result.ecx |= 1 << 27;
      if (context.cpus > 1) result.edx |= 1 << 28;
      // SDM Vol. 3A, "Enabling or Disabling the Local APIC".
      if (context.apicDisabled) result.edx &= ~APIC;
      result.eax = signature(model);
      result.ebx =
        (context.apicId << 24) |
        (Math.min(255, 2 ** coreBits(context.cpus)) << 16) |
        (model.features.has('clflush') ? (LINE / 8) << 8 : 0);
      return result;
    },
  },
  {
    leaf: 2,
    name: 'Cache and TLB descriptors',
    vendor: 'intel',
    // 01: one round; B5 03 63 76 C1: TLBs; F0: 64-byte prefetching; FF: caches are in leaf 4.
    read: () => ({ eax: 0x76036301, ebx: 0x00f0b5ff, ecx: 0, edx: 0x00c10000 }),
  },
  {
    leaf: 4,
    name: 'Deterministic cache parameters',
    vendor: 'intel',
    read: (_model, context, subleaf) => {
      const result = cacheParameters(context, subleaf);
      const cores = Math.min(64, 2 ** coreBits(context.cpus));
      return result.eax ? { ...result, eax: result.eax | ((cores - 1) << 26) } : {};
    },
  },
  {
    leaf: 5,
    name: 'MONITOR/MWAIT',
    read: (model) => (model.features.has('monitor') ? { eax: LINE, ebx: LINE, ecx: 3, edx: 0 } : {}),
  },
  { leaf: 6, name: 'Thermal and power management', read: (model) => featureBits(model, 6, 0) },
  {
    leaf: 7,
    name: 'Structured extended features',
    read: (model, context, subleaf) => {
      if (subleaf !== 0) return {};
      const result = featureBits(model, 7, 0);
      if (model.features.has('pku') && context.cr4 & Cr4.PKE) result.ecx |= 1 << 4;
      return result;
    },
  },
  {
    leaf: 0xb,
    name: 'Extended topology',
    read: (_model, context, subleaf) => {
      const common = { edx: context.apicId };
      if (subleaf === 0) return { ...common, eax: 0, ebx: 1, ecx: 0x100 };
      if (subleaf === 1) return { ...common, eax: coreBits(context.cpus), ebx: context.cpus, ecx: 0x201 };
      return { ...common, ecx: subleaf & 0xff };
    },
  },
  {
    leaf: 0xd,
    name: 'Processor extended state',
    read: (model, context, subleaf) => {
      const { features } = model;
      if (!features.has('xsave')) return {};
      const all = supportedComponents(features);
      if (subleaf === 0) return { eax: all, ebx: standardSize(context.xcr0), ecx: standardSize(all) };
      if (subleaf === 1) {
        const { eax } = featureBits(model, 0xd, 1);
        // The size of what XSAVES (or XSAVEC) writes now.
        return { eax, ebx: features.has('xsavec') ? compactedSize(context.xcr0 | context.xss) : 0 };
      }
      const component = STATE_COMPONENTS.find(({ bit, feature }) => bit === subleaf && features.has(feature));
      return component ? { eax: component.size, ebx: component.offset } : {};
    },
  },
  {
    leaf: 0x15,
    name: 'Time stamp counter and core crystal clock',
    vendor: 'intel',
    read: (_model, { tscHz, crystalHz }) => {
      if (!crystalHz) return {};
      const common = gcd(tscHz, crystalHz);
      return { eax: crystalHz / common, ebx: tscHz / common, ecx: crystalHz };
    },
  },
  {
    leaf: 0x16,
    name: 'Processor frequency',
    vendor: 'intel',
    read: (_model, { tscHz }) => {
      const mhz = Math.min(0xffff, Math.round(tscHz / 1e6));
      return { eax: mhz, ebx: mhz, ecx: 100 };
    },
  },
  {
    leaf: 0x80000000,
    name: 'Maximum extended leaf',
    read: (model) => {
      const result: Partial<CpuidResult> = { eax: maxExtendedLeaf(model) };
      if (model.vendor === 'amd') [result.ebx, result.edx, result.ecx] = words(VENDOR_STRINGS.amd, 3);
      return result;
    },
  },
  {
    leaf: 0x80000001,
    name: 'Extended features',
    read: (model, context) => {
      const result = featureBits(model, 0x80000001, 0);
      if ((context.miscEnable ?? 0n) & MiscEnable.xdDisable) result.edx &= ~(1 << 20);
      if (model.vendor === 'amd') {
        result.eax = signature(model);
        // AMD repeats these bits of leaf 1 EDX: 9:0, 17:12, 24:23.
        result.edx |= featureBits(model, 1, 0).edx & 0x0183f3ff;
        if (context.apicDisabled) result.edx &= ~APIC;
        if (context.cpus > 1) result.ecx |= 1 << 1;
      }
      return result;
    },
  },
  ...[0, 1, 2].map((part): Leaf => ({
    leaf: 0x80000002 + part,
    name: 'Processor brand string',
    read: (model) => {
      const [eax, ebx, ecx, edx] = words(model.brand.slice(0, 47), 12).slice(part * 4);
      return { eax, ebx, ecx, edx };
    },
  })),
  {
    leaf: 0x80000005,
    name: 'L1 cache and TLB',
    vendor: 'amd',
    // TLBs of 64 entries, fully associative; L1 caches of 32 KB, 8-way, 64-byte lines.
    read: () => ({ eax: 0xff40ff40, ebx: 0xff40ff40, ecx: 0x20080140, edx: 0x20080140 }),
  },
  {
    leaf: 0x80000006,
    name: 'L2 and L3 cache',
    // L2 of 256 KB, 4-way; AMD also tells of 8 MB L3, 16-way (in units of 512 KB).
    read: (model) => ({ ecx: 0x01004140, edx: model.vendor === 'amd' ? (16 << 18) | 0x8140 : 0 }),
  },
  { leaf: 0x80000007, name: 'Power management', read: (model) => featureBits(model, 0x80000007, 0) },
  {
    leaf: 0x80000008,
    name: 'Address sizes',
    read: (model, context) => ({
      eax: model.maxPhysicalAddress | (model.maxLinearAddress << 8),
      ebx: featureBits(model, 0x80000008, 0).ebx,
      ecx: model.vendor === 'amd' ? (context.cpus - 1) | (coreBits(context.cpus) << 12) : 0,
    }),
  },
  {
    leaf: 0x8000000a,
    name: 'SVM',
    vendor: 'amd',
    read: (model) => (model.features.has('svm') ? { eax: 1, ebx: 16, edx: featureBits(model, 0x8000000a, 0).edx } : {}),
  },
  {
    leaf: 0x80000019,
    name: '1-GByte page TLB',
    vendor: 'amd',
    // Data and instruction TLBs of 64 entries, fully associative.
    read: (model) => (model.features.has('pdpe1gb') ? { eax: 0xf040f040 } : {}),
  },
  {
    leaf: 0x8000001d,
    name: 'Cache properties',
    vendor: 'amd',
    read: (_model, context, subleaf) => cacheParameters(context, subleaf),
  },
  {
    leaf: 0x8000001e,
    name: 'Processor topology',
    vendor: 'amd',
    // Each core has one thread; one node.
    read: (_model, context) => ({ eax: context.apicId, ebx: context.apicId & 0xff }),
  },
];
const BY_LEAF = new Map(LEAVES.map((leaf) => [leaf.leaf, leaf]));

/** Leaf 4 of Intel's and leaf 0x8000001D of AMD's processors, but for the number of cores. */
function cacheParameters(context: CpuidContext, subleaf: number): Partial<CpuidResult> {
  const cache = CACHES[subleaf];
  if (!cache) return {};
  const sharing = cache.shared ? Math.min(4096, 2 ** coreBits(context.cpus)) : 1;
  return {
    eax: cache.type | (cache.level << 5) | (1 << 8) | ((sharing - 1) << 14),
    ebx: (LINE - 1) | ((cache.ways - 1) << 22),
    ecx: cache.sets - 1,
    // The last level is inclusive of the ones below.
    edx: cache.shared ? 2 : 0,
  };
}

function maxBasicLeaf(model: CpuModel): number {
  return model.vendor === 'intel' ? 0x16 : 0xd;
}

function maxExtendedLeaf(model: CpuModel): number {
  if (model.features.has('topoext')) return 0x8000001e;
  return model.features.has('svm') ? 0x8000000a : 0x80000008;
}

/**
 * What CPUID answers for EAX = `leaf`, ECX = `subleaf` (unsigned 32-bit). Leaves out of range: Intel gives the highest basic
 * leaf, AMD zeros; leaves at 0x40000000 belong to the hypervisor interface.
 */
export function cpuid(model: CpuModel, leaf: number, subleaf: number, context: CpuidContext): CpuidResult {
  leaf >>>= 0;
  if (leaf >= 0x40000000 && leaf <= 0x4fffffff && (model.hypervisorLeaf || model.features.has('hypervisor'))) {
    return unsigned(model.hypervisorLeaf?.(leaf, subleaf >>> 0) ?? {});
  }
  const outside = leaf > (leaf >= 0x80000000 ? maxExtendedLeaf(model) : maxBasicLeaf(model));
  if (outside) {
    if (model.vendor === 'amd') return unsigned({});
    leaf = maxBasicLeaf(model);
  }
  const row = BY_LEAF.get(leaf);
  if (!row || (row.vendor && row.vendor !== model.vendor)) return unsigned({});
  return unsigned(row.read(model, context, subleaf >>> 0));
}

/** A CPUID answer for people: the leaf's name, and each register with the features it announces. */
export function describeLeaf(leaf: number, subleaf: number, result: CpuidResult): Field {
  const name = BY_LEAF.get(leaf >>> 0)?.name;
  const registers = (['eax', 'ebx', 'ecx', 'edx'] as const).map((register): Field => {
    const names = CPU_FEATURES.filter(
      (feature) =>
        feature.leaf === leaf >>> 0 &&
        feature.register === register &&
        (feature.subleaf === subleaf || feature.leaf !== 0xd) &&
        (result[register] >>> feature.bit) & 1,
    ).map((feature) => feature.name);
    const text = names.length > 0 ? names.join(' ') : leafText(leaf >>> 0, register, result[register]);
    return { name: register.toUpperCase(), value: hex(result[register], 32), ...(text ? { text } : {}) };
  });
  return {
    name: `CPUID leaf ${hex(leaf, 32)} subleaf ${hex(subleaf, 32)}`,
    value: '',
    ...(name ? { text: name } : {}),
    children: registers,
  };
}

/** Characters of the leaves that spell a name; the decoded signature of leaf 1. */
function leafText(leaf: number, register: CpuidRegister, value: number): string {
  const spells =
    ((leaf === 0 || leaf === 0x40000000 || leaf === 0x80000000) && register !== 'eax') ||
    (leaf >= 0x80000002 && leaf <= 0x80000004);
  if (spells) {
    const characters = [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
    if (characters.some((c) => c !== 0 && (c < 0x20 || c > 0x7e))) return '';
    const text = String.fromCharCode(...characters.filter((c) => c !== 0));
    return text ? `'${text}'` : '';
  }
  if ((leaf === 1 || leaf === 0x80000001) && register === 'eax' && value !== 0) {
    const base = (value >>> 8) & 15;
    const family = base === 15 ? base + ((value >>> 20) & 0xff) : base;
    const model = ((value >>> 4) & 15) + (base === 6 || base === 15 ? ((value >>> 16) & 15) << 4 : 0);
    return `family ${hex(family, 8)} model ${hex(model, 8)} stepping ${value & 15}`;
  }
  return '';
}

/** Leaf 1 EAX: "Version Information Returned by CPUID in EAX". */
export function signature({ family, model, stepping }: CpuModel): number {
  const extended = Math.max(0, family - 15);
  return (extended << 20) | ((model >> 4) << 16) | (Math.min(family, 15) << 8) | ((model & 15) << 4) | stepping;
}

function featureBits(model: CpuModel, leaf: number, subleaf: number): CpuidResult {
  const result: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  for (const feature of CPU_FEATURES) {
    if (feature.leaf === leaf && feature.subleaf === subleaf && model.features.has(feature.name)) {
      result[feature.register] |= 1 << feature.bit;
    }
  }
  return result;
}

/** Bits of an APIC id that tell the cores of a package apart. */
function coreBits(cpus: number): number {
  return Math.ceil(Math.log2(Math.max(1, cpus)));
}

/** `text` as little-endian 32-bit words, padded with NULs. */
function words(text: string, count: number): number[] {
  return Array.from({ length: count }, (_, word) =>
    [3, 2, 1, 0].reduce(
      (value, i) => (value << 8) | (word * 4 + i < text.length ? text.charCodeAt(word * 4 + i) : 0),
      0,
    ),
  );
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

function unsigned({ eax = 0, ebx = 0, ecx = 0, edx = 0 }: Partial<CpuidResult>): CpuidResult {
  return { eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 };
}
