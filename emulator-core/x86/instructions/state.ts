/** Saving and restoring extended state: FXSAVE, the XSAVE family, XCR0 and MXCSR. Assists: cpu/assists/xstate.ts. */
import { rows, type Family, type Instruction } from './instruction';

const row = (mnemonic: string, manual: string, assist: string, feature: string, note?: string): Instruction => ({
  mnemonic,
  manual,
  assist,
  feature,
  ...(note ? { note } : {}),
});

/** An instruction and its form with REX.W. */
const both = (name: string, manual: string, assist: string, feature: string, note?: string): Instruction[] =>
  rows([name, `${name}64`], (mnemonic) => row(mnemonic, manual, assist, feature, note));

const POINTERS =
  'The last x87 instruction and data pointers are always saved and restored (AMD processors before Zen 2: only with an exception pending)';
const IN_USE =
  'A component counts as in use when it differs from its initial configuration; processors may track it and say so more often';

const EMULATED =
  'CR0.EM makes it #NM, as in the APM and as for all x87 instructions (newer editions of the SDM list #UD)';

export const state: Family = [
  ...both(
    'Fxsave',
    'FXSAVE—Save x87 FPU, MMX Technology, and SSE State',
    'fxsave',
    'fxsr',
    `${POINTERS}. ${EMULATED}. With CR4.OSFXSR clear the XMM registers are left out, which the manual leaves to the processor`,
  ),
  ...both(
    'Fxrstor',
    'FXRSTOR—Restore x87 FPU, MMX, XMM, and MXCSR State',
    'fxrstor',
    'fxsr',
    `${POINTERS}. ${EMULATED}. With CR4.OSFXSR clear the XMM registers stay, which the manual leaves to the processor`,
  ),
  ...both('Xsave', 'XSAVE—Save Processor Extended States', 'xsave', 'xsave', `${POINTERS}. ${IN_USE}`),
  ...both(
    'Xsaveopt',
    'XSAVEOPT—Save Processor Extended States Optimized',
    'xsaveopt',
    'xsaveopt',
    `${IN_USE}. There is no modified optimization: what is in use is written`,
  ),
  ...both(
    'Xsavec',
    'XSAVEC—Save Processor Extended States With Compaction',
    'xsavec',
    'xsavec',
    `${POINTERS}. ${IN_USE}`,
  ),
  ...both(
    'Xsaves',
    'XSAVES—Save Processor Extended States Supervisor',
    'xsaves',
    'xsaves',
    `${IN_USE}. There is no modified optimization: what is in use is written`,
  ),
  ...both('Xrstor', 'XRSTOR—Restore Processor Extended States', 'xrstor', 'xsave', POINTERS),
  ...both('Xrstors', 'XRSTORS—Restore Processor Extended States Supervisor', 'xrstors', 'xsaves', POINTERS),
  row('Xgetbv', 'XGETBV—Get Value of Extended Control Register', 'readExtendedControl', 'xsave', IN_USE),
  {
    ...row('Xsetbv', 'XSETBV—Set Extended Control Register', 'writeExtendedControl', 'xsave'),
    // What follows may be decoded otherwise: AVX exists by XCR0.
    endsBlock: true,
  },
  { ...row('Ldmxcsr', 'LDMXCSR—Load MXCSR Register', 'loadMxcsr', 'sse'), unit: 'sse' },
  { ...row('Stmxcsr', 'STMXCSR—Store MXCSR Register State', 'storeMxcsr', 'sse'), unit: 'sse' },
  { ...row('Vldmxcsr', 'LDMXCSR—Load MXCSR Register', 'loadMxcsr', 'avx'), unit: 'avx' },
  { ...row('Vstmxcsr', 'STMXCSR—Store MXCSR Register State', 'storeMxcsr', 'avx'), unit: 'avx' },
];
