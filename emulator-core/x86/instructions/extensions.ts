/** Single instructions that a CPUID feature of their own announces: CRC32, random numbers, cache control, direct stores, hints. */
import type { Builder } from '../../translate/builder';
import { i64, i64c, type Expr } from '../../translate/wasm';
import { nothing } from './control';
import { rows, type Family } from './instruction';

/** The Castagnoli polynomial 11EDC6F41h, bits reflected as the instruction takes them. */
const CASTAGNOLI = 0x82f63b78n;

/** One bit of the remainder a step; the register's upper half is not part of it. */
function crc32(b: Builder): void {
  let remainder: Expr = b.let(i64.and(b.read(0), i64c(0xffffffffn)));
  const bits = b.bits(1);
  remainder = b.let(i64.xor(remainder, b.read(1)));
  for (let i = 0; i < bits; i++) {
    const odd = i64.and(remainder, i64c(1));
    const divisor = i64.and(i64.sub(i64c(0), odd), i64c(CASTAGNOLI));
    remainder = b.let(i64.xor(i64.shrU(remainder, i64c(1)), divisor));
  }
  b.write(0, remainder);
}

export const extensions: Family = [
  {
    mnemonic: 'Crc32',
    feature: 'sse4_2',
    manual: 'CRC32—Accumulate CRC32 Value',
    semantics: crc32,
  },
  { mnemonic: 'Rdrand', feature: 'rdrand', manual: 'RDRAND—Read Random Number', assist: 'random' },
  { mnemonic: 'Rdseed', feature: 'rdseed', manual: 'RDSEED—Read Random SEED', assist: 'random' },
  { mnemonic: 'Rdpid', feature: 'rdpid', manual: 'RDPID—Read Processor ID', assist: 'readProcessorId' },
  { mnemonic: 'Clflush', feature: 'clflush', manual: 'CLFLUSH—Flush Cache Line', assist: 'flushLine' },
  {
    mnemonic: 'Clflushopt',
    feature: 'clflushopt',
    manual: 'CLFLUSHOPT—Flush Cache Line Optimized',
    assist: 'flushLine',
  },
  { mnemonic: 'Clwb', feature: 'clwb', manual: 'CLWB—Cache Line Write Back', assist: 'flushLine' },
  ...rows(['Clzerow', 'Clzerod', 'Clzeroq'], (mnemonic) => ({
    mnemonic,
    feature: 'clzero',
    manual: 'CLZERO—Zero Cache Line (AMD APM Vol. 3)',
    assist: 'clearLine',
  })),
  ...rows(['Monitorw', 'Monitord', 'Monitorq'], (mnemonic) => ({
    mnemonic,
    feature: 'monitor',
    manual: 'MONITOR—Set Up Monitor Address',
    assist: 'monitor',
  })),
  { mnemonic: 'Mwait', feature: 'monitor', manual: 'MWAIT—Monitor Wait', assist: 'monitorWait', endsBlock: true },
  {
    mnemonic: 'Movdiri',
    feature: 'movdiri',
    manual: 'MOVDIRI—Move Doubleword as Direct Store',
    semantics: (b) => b.write(0, b.read(1)),
  },
  {
    mnemonic: 'Movdir64b',
    feature: 'movdir64b',
    manual: 'MOVDIR64B—Move 64 Bytes as Direct Store',
    assist: 'moveDirect64',
  },
  { ...nothing('Serialize', 'SERIALIZE—Serialize Instruction Execution'), feature: 'serialize' },
  // Hints: no operation, also on processors that do not know them, and no access to their operand.
  nothing('Cldemote', 'CLDEMOTE—Cache Line Demote'),
  ...rows(['Prefetch', 'Prefetchw', 'Prefetchwt1'], (mnemonic) =>
    nothing(mnemonic, 'PREFETCHW—Prefetch Data Into Caches in Anticipation of a Write'),
  ),
  ...rows([3, 4, 5, 6, 7], (n) =>
    nothing(`Prefetchreserved${n}`, 'PREFETCHlevel—Prefetch Data to Cache Line (AMD APM Vol. 3)'),
  ),
  ...rows(['Prefetcht0', 'Prefetcht1', 'Prefetcht2', 'Prefetchnta', 'Prefetchit0', 'Prefetchit1'], (mnemonic) =>
    nothing(mnemonic, 'PREFETCHh—Prefetch Data or Code Into Caches'),
  ),
  nothing('Endbr64', 'ENDBR64—Terminate an Indirect Branch in 64-bit Mode'),
  nothing('Endbr32', 'ENDBR32—Terminate an Indirect Branch in 32-bit and Compatibility Mode'),
  // Without shadow stacks RDSSP leaves its register alone: programs ask by it whether there is one.
  ...rows(['Rdsspd', 'Rdsspq'], (mnemonic) => nothing(mnemonic, 'RDSSPD/RDSSPQ—Read Shadow Stack Pointer')),
];
