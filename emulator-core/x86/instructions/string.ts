/** String instructions: one iteration here; the engine wraps REP around it. */
import { Gpr, type Bits, type Builder } from '../../translate/builder';
import { i64 } from '../../translate/wasm';
import { rows, type Family } from './instruction';

type Sized = readonly [suffix: string, bits: Bits];
const SIZES: readonly Sized[] = [
  ['b', 8],
  ['w', 16],
  ['d', 32],
  ['q', 64],
];

function compare(b: Builder, bits: Bits, x: ReturnType<Builder['read']>, y: ReturnType<Builder['read']>): void {
  b.flagsSub(bits, x, y, b.let(i64.sub(x, y)));
}

export const string: Family = [
  ...rows(SIZES, ([suffix, bits]) => ({
    mnemonic: 'Movs' + suffix,
    operands: /^m\d+_m\d+$/,
    manual: 'MOVS/MOVSB/MOVSW/MOVSD/MOVSQ—Move Data From String to String',
    repeat: 'rep' as const,
    bulk: 'copy' as const,
    semantics: (b: Builder) => {
      b.storeString(bits, b.stringSource(bits));
      b.advance(Gpr.rsi, bits);
      b.advance(Gpr.rdi, bits);
    },
  })),
  ...rows(SIZES, ([suffix, bits]) => ({
    mnemonic: 'Stos' + suffix,
    manual: 'STOS/STOSB/STOSW/STOSD/STOSQ—Store String',
    repeat: 'rep' as const,
    bulk: 'fill' as const,
    semantics: (b: Builder) => {
      b.storeString(bits, b.reg(Gpr.rax, bits));
      b.advance(Gpr.rdi, bits);
    },
  })),
  ...rows(SIZES, ([suffix, bits]) => ({
    mnemonic: 'Lods' + suffix,
    manual: 'LODS/LODSB/LODSW/LODSD/LODSQ—Load String',
    repeat: 'rep' as const,
    semantics: (b: Builder) => {
      b.setReg(Gpr.rax, bits, b.stringSource(bits));
      b.advance(Gpr.rsi, bits);
    },
  })),
  ...rows(SIZES, ([suffix, bits]) => ({
    mnemonic: 'Scas' + suffix,
    manual: 'SCAS/SCASB/SCASW/SCASD—Scan String',
    repeat: 'repe' as const,
    semantics: (b: Builder) => {
      const y = b.let(b.stringDestination(bits));
      compare(b, bits, b.let(b.reg(Gpr.rax, bits)), y);
      b.advance(Gpr.rdi, bits);
    },
  })),
  ...rows(SIZES, ([suffix, bits]) => ({
    mnemonic: 'Cmps' + suffix,
    operands: /^m\d+_m\d+$/,
    manual: 'CMPS/CMPSB/CMPSW/CMPSD/CMPSQ—Compare String Operands',
    repeat: 'repe' as const,
    semantics: (b: Builder) => {
      const x = b.let(b.stringSource(bits));
      const y = b.let(b.stringDestination(bits));
      compare(b, bits, x, y);
      b.advance(Gpr.rsi, bits);
      b.advance(Gpr.rdi, bits);
    },
  })),
  ...rows(SIZES.slice(0, 3), ([suffix]) => ({
    mnemonic: 'Ins' + suffix,
    manual: 'INS/INSB/INSW/INSD—Input from Port to String',
    assist: 'inputString',
    endsBlock: true,
  })),
  ...rows(SIZES.slice(0, 3), ([suffix]) => ({
    mnemonic: 'Outs' + suffix,
    manual: 'OUTS/OUTSB/OUTSW/OUTSD—Output String to Port',
    assist: 'outputString',
    endsBlock: true,
  })),
];
