import assert from 'node:assert';
import {
  counterDescription,
  decodedLines,
  exitFields,
  mergeExits,
  noFilter,
  shownCounters,
  shownExits,
} from '../../../src/views/vmExitsModel';
import { exitFromWire, type ExitRecord } from '../../../src/wire';

function exit(seq: number, name: string, summary: string, symbol?: string): ExitRecord {
  return exitFromWire({
    seq,
    icount: 1000 + seq,
    cpu: 0,
    name,
    reason: 10,
    rip: '0xffffffff81000000',
    symbol,
    qualification: '0x0',
    instructionLength: 2,
    guestLinear: '0x0',
    guestPhysical: '0xfee000b0',
    summary,
  });
}

describe('VM exits model', () => {
  const counters = [
    { name: 'HLT', reason: 12, count: 5 },
    { name: 'CPUID', reason: 10, count: 20 },
    { name: 'VMCALL', reason: 18, count: 0 },
    { name: 'CR_ACCESS', reason: 28, count: 5 },
  ];

  it('sorts by count, then by name, without those that never happened', () => {
    assert.deepEqual(
      shownCounters(counters, noFilter).map((counter) => counter.name),
      ['CPUID', 'CR_ACCESS', 'HLT'],
    );
    assert.equal(counterDescription(counters[1], 30), '20 · 67%');
  });

  it('counts on from where it was cleared', () => {
    const filter = {
      text: '',
      after: 7,
      baseline: new Map([
        ['CPUID', 18],
        ['HLT', 5],
      ]),
    };
    assert.deepEqual(
      shownCounters(counters, filter).map((counter) => [counter.name, counter.count]),
      [
        ['CR_ACCESS', 5],
        ['CPUID', 2],
      ],
    );
    assert.deepEqual(
      shownExits([exit(8, 'CPUID', ''), exit(7, 'CPUID', '')], filter).map((one) => one.seq),
      [8],
    );
  });

  it('filters by name, symbol and decoded fields', () => {
    const exits = [exit(3, 'CPUID', 'leaf 0x1', 'setup_cpu+0x4'), exit(2, 'IO_INSTRUCTION', 'out 0x3f8 <- 0x41')];
    const seqs = (text: string) => shownExits(exits, { ...noFilter, text }).map((one) => one.seq);
    assert.deepEqual([seqs(''), seqs('cpu'), seqs('3F8'), seqs('SETUP'), seqs('nothing')], [[3, 2], [3], [2], [3], []]);
  });

  it('says which exit, where and when', () => {
    const at = exit(1, 'EPT_VIOLATION', 'write of gpa 0xfee000b0', 'send_ipi+0x8');
    const fields = new Map(exitFields({ ...at, file: 'apic.c', line: 12 }));
    assert.equal(fields.get('Where'), '0xffffffff81000000 send_ipi+0x8');
    assert.equal(fields.get('Source'), 'apic.c:12');
    assert.equal(fields.get('When'), 'instruction 1,001 on vCPU 0');
    assert.equal(new Map(exitFields(at)).has('Source'), false);
  });

  it('prints decoded fields with their parts', () => {
    const parts = [{ name: 'Write', value: '1' }];
    assert.deepEqual(decodedLines([{ name: 'Qualification', value: '0x2', text: 'data write', children: parts }]), [
      ['Qualification', '0x2 (data write)'],
      ['  Write', '1'],
    ]);
  });

  it('merges reports, also after going back in time', () => {
    const seqs = (exits: ExitRecord[]) => exits.map((one) => one.seq);
    const list = (...numbers: number[]) => numbers.map((seq) => exit(seq, 'HLT', ''));
    assert.deepEqual(seqs(mergeExits(list(3, 2, 1), list(5, 4, 3), 4)), [5, 4, 3, 2]);
    assert.deepEqual(seqs(mergeExits(list(9, 8, 7, 6), list(7, 6), 9)), [7, 6]);
    assert.deepEqual(seqs(mergeExits(list(2, 1), [], 9)), [2, 1]);
  });
});
