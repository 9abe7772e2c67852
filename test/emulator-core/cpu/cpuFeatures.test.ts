import { strict as assert } from 'node:assert';
import { CORE_FEATURES, CPU_FEATURES, coreFeatures, parseFeatures } from '../../../emulator-core/cpu/cpuFeatures';
import { cpuidHas, makeCpuModel } from '../../../emulator-core/cpu/cpuid';
import { CPU_MODEL_NAMES, CPU_MODELS, DEFAULT_MODEL, LEVEL_FEATURES } from '../../../emulator-core/cpu/cpuModels';
import { validXcr0 } from '../../../emulator-core/cpu/stateComponents';
import { CODES } from '../../../emulator-core/x86/codes';

const names = new Set(CPU_FEATURES.map((f) => f.name));
const implied = (name: string) => CPU_FEATURES.find((f) => f.name === name)!.implies;

/** x86-64 psABI, "Micro-Architecture Levels". OSFXSR and OSXSAVE are CR4's, SCE is EFER's. */
const BASELINE = ['cmov', 'cx8', 'fpu', 'fxsr', 'mmx', 'syscall', 'sse', 'sse2'];
const LEVEL2 = [...BASELINE, 'cx16', 'lahf_lm', 'popcnt', 'sse3', 'sse4_1', 'sse4_2', 'ssse3'];
const LEVEL3 = [...LEVEL2, 'avx', 'avx2', 'bmi1', 'bmi2', 'f16c', 'fma', 'abm', 'movbe', 'xsave'];

describe('CPU features', () => {
  it('table: one bit, one name; implied ones exist', () => {
    const places = CPU_FEATURES.map((f) => `${f.leaf}/${f.subleaf}/${f.register}/${f.bit}`);
    assert.equal(new Set(places).size, places.length);
    assert.equal(names.size, places.length);
    for (const feature of CPU_FEATURES) {
      for (const each of feature.implies) assert.ok(names.has(each), `${feature.name}: ${each}`);
    }
  });

  it('the core has what each of its features implies', () => {
    for (const name of CORE_FEATURES) {
      assert.ok(names.has(name), name);
      for (const each of implied(name)) assert.ok(CORE_FEATURES.includes(each), `${name} implies ${each}`);
    }
    assert.equal(new Set(CORE_FEATURES).size, CORE_FEATURES.length);
  });

  it('every row names a known feature (that features have their rows is the decoder test)', () => {
    for (const info of CODES) {
      const feature = info?.row.feature;
      if (feature) assert.ok(names.has(feature), `${info.name}: ${feature}`);
    }
  });

  it("bits are the SDM's", () => {
    const at = (name: string) => {
      const feature = CPU_FEATURES.find((f) => f.name === name)!;
      return [feature.leaf, feature.register, feature.bit];
    };
    assert.deepEqual(at('vmx'), [1, 'ecx', 5]);
    assert.deepEqual(at('x2apic'), [1, 'ecx', 21]);
    assert.deepEqual(at('tsc_deadline'), [1, 'ecx', 24]);
    assert.deepEqual(at('pcid'), [1, 'ecx', 17]);
    assert.deepEqual(at('svm'), [0x80000001, 'ecx', 2]);
    assert.deepEqual(at('pdpe1gb'), [0x80000001, 'edx', 26]);
    assert.deepEqual(at('smep'), [7, 'ebx', 7]);
    assert.deepEqual(at('invpcid'), [7, 'ebx', 10]);
    assert.deepEqual(at('smap'), [7, 'ebx', 20]);
    assert.deepEqual(at('umip'), [7, 'ecx', 2]);
    assert.deepEqual(at('pku'), [7, 'ecx', 3]);
    assert.deepEqual(at('la57'), [7, 'ecx', 16]);
    assert.deepEqual(at('arch_capabilities'), [7, 'edx', 29]);
  });

  it('plus, minus and what hangs on them', () => {
    const from = (...list: string[]) =>
      parseFeatures(
        'intel',
        CORE_FEATURES.filter((f) => f !== 'x2apic'),
        list,
      );
    assert.ok(from('+x2apic').has('x2apic'));
    const noApic = from('+x2apic', '+TSC-deadline', '-apic');
    for (const name of ['apic', 'x2apic', 'tsc_deadline', 'arat']) assert.ok(!noApic.has(name), name);
    const noPae = from('-pae');
    for (const name of ['lm', 'nx', 'lahf_lm', 'pcid', 'invpcid', 'la57', 'smap', 'pku'])
      assert.ok(!noPae.has(name), name);
    assert.ok(parseFeatures('intel', [], ['+invpcid']).has('pcid'));
    assert.ok(cpuidHas(makeCpuModel('amd'), 'amd'));
    assert.ok(!cpuidHas(makeCpuModel('amd'), 'intel'));
  });

  it("what only the other vendor's processors have is refused, and no model brings it", () => {
    // AMD APM Vol. 3, Appendix D; on Intel processors bit 22 of EDX of leaf 80000001h and bit 0 of EBX of leaf 80000008h are reserved.
    for (const name of ['mmxext', 'clzero', 'topoext', 'cmp_legacy']) {
      assert.throws(
        () => parseFeatures('intel', [], ['+' + name]),
        new RegExp(`cpu\\.features: only AMD processors have '${name}', this one is 'intel'; it has .*apic`),
      );
      assert.ok(parseFeatures('amd', [], ['+' + name]).has(name));
      assert.ok(!parseFeatures('intel', [name], ['-' + name]).has(name), 'switching it off is no error');
      assert.ok(!parseFeatures('intel', [name], []).has(name));
    }
    assert.throws(
      () => makeCpuModel('amd', ['+serialize']),
      /only Intel processors have 'serialize', this one is 'amd'/,
    );
    for (const vendor of ['intel', 'amd'] as const) {
      const all = coreFeatures(vendor);
      assert.deepEqual(
        [
          ...parseFeatures(
            vendor,
            [],
            all.map((name) => '+' + name),
          ),
        ].sort(),
        [...all].sort(),
      );
    }
  });

  it('errors name the attribute and the nearest feature', () => {
    assert.throws(
      () => parseFeatures('intel', [], ['+x2apci']),
      /cpu\.features: no CPU feature is called 'x2apci'; did you mean '\+x2apic'\?/,
    );
    assert.throws(() => parseFeatures('intel', [], ['x2apic']), /cpu\.features: 'x2apic' must begin with \+ or -/);
    assert.throws(() => parseFeatures('intel', [], ['']), /must begin with/);
    assert.throws(() => parseFeatures('intel', [], ['+zzzzzzzzzzzz']), /called 'zzzzzzzzzzzz'$/);
    assert.throws(
      () => parseFeatures('intel', [], ['+avx512f']),
      /cpu\.features: the embedded processor has no 'avx512f' \(AVX-512 is left out\); it has .*apic/,
    );
  });
});

describe('CPU models', () => {
  it("levels list what the x86-64 psABI's do", () => {
    for (const name of LEVEL2) assert.ok(LEVEL_FEATURES['x86-64-v2'].includes(name), name);
    for (const name of LEVEL3) assert.ok(LEVEL_FEATURES['x86-64-v3'].includes(name), name);
    for (const list of Object.values(LEVEL_FEATURES)) {
      for (const name of list) {
        for (const each of implied(name)) assert.ok(list.includes(each), `${name} implies ${each}`);
      }
    }
  });

  it('the core does everything of levels 2 and 3', () => {
    for (const level of ['x86-64-v2', 'x86-64-v3'] as const) {
      const { features } = makeCpuModel('intel', [], level);
      for (const name of level === 'x86-64-v2' ? LEVEL2 : LEVEL3) assert.ok(features.has(name), `${level}: ${name}`);
      for (const name of LEVEL_FEATURES[level]) assert.ok(features.has(name), `${level}: ${name}`);
    }
  });

  it('announce only what the core does, closed under what features imply', () => {
    for (const name of CPU_MODEL_NAMES) {
      for (const vendor of ['intel', 'amd'] as const) {
        const { features } = makeCpuModel(vendor, [], name);
        for (const feature of features) {
          assert.ok(CORE_FEATURES.includes(feature), `${name} ${vendor}: ${feature}`);
          for (const each of implied(feature)) assert.ok(features.has(each), `${feature} implies ${each}`);
        }
        const listed = new Set(CPU_MODELS[name].features(vendor));
        for (const feature of features) assert.ok(listed.has(feature), `${name} ${vendor}: ${feature} is not listed`);
      }
    }
    assert.deepEqual([...makeCpuModel('intel', [], 'max').features].sort(), coreFeatures('intel').sort());
    assert.ok(!makeCpuModel('intel', [], 'max').features.has('topoext'), "AMD's");
    assert.ok(!makeCpuModel('amd', [], 'max').features.has('arch_capabilities'), "Intel's");
  });

  it('the default has neither 5-level paging nor protection keys; features add them', () => {
    assert.equal(makeCpuModel('intel').maxLinearAddress, 48);
    const wide = makeCpuModel('intel', ['+la57', '+pku'], DEFAULT_MODEL);
    assert.equal(wide.maxLinearAddress, 57);
    assert.ok(wide.features.has('pku'));
    assert.throws(
      () => makeCpuModel('intel', [], 'i486'),
      /cpu\.model: no CPU model is called 'i486'; there are x86-64-v2/,
    );
  });

  it('XCR0 takes x87 always, SSE, and AVX with SSE', () => {
    const all = new Set(['fpu', 'fxsr', 'sse', 'xsave', 'avx', 'pku']);
    const ok = (value: bigint, features = all) => validXcr0(features, value);
    for (const value of [1n, 3n, 7n, 0x203n, 0x207n]) assert.ok(ok(value), value.toString(16));
    // SDM Vol. 2, XSETBV: bit 0 clear, AVX without SSE, reserved bits.
    for (const value of [0n, 2n, 6n, 5n, 9n, 0xe7n, 1n << 63n, 0x107n]) assert.ok(!ok(value), value.toString(16));
    assert.ok(!ok(7n, new Set(['xsave', 'sse'])));
    assert.ok(!ok(0x203n, new Set(['xsave', 'sse', 'avx'])));
  });
});
