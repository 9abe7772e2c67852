import { strict as assert } from 'node:assert';
import { emptyExit, type VmExit } from '../../../../emulator-core/virt/exit';
import {
  CrAccess,
  describeExit,
  describeQualification,
  encodeApicAccessQualification,
  encodeCrQualification,
  encodeDrQualification,
  encodeEptViolationQualification,
  encodeInterruptionInformation,
  encodeIoQualification,
  encodeTaskSwitchQualification,
  EXIT_REASONS,
  ExitReason,
  exitField,
  exitFields,
  exitReason,
  exitReasonByName,
  InterruptionType,
  summary,
} from '../../../../emulator-core/virt/vmx/exitReasons';

const exit = (parts: Partial<VmExit>): VmExit => ({ ...emptyExit(), ...parts });

describe('VMX basic exit reasons', () => {
  it('have the numbers of SDM Vol. 3D Appendix C', () => {
    const expected: [number, string][] = [
      [0, 'EXCEPTION_OR_NMI'],
      [1, 'EXTERNAL_INTERRUPT'],
      [2, 'TRIPLE_FAULT'],
      [3, 'INIT_SIGNAL'],
      [4, 'STARTUP_IPI'],
      [7, 'INTERRUPT_WINDOW'],
      [8, 'NMI_WINDOW'],
      [9, 'TASK_SWITCH'],
      [10, 'CPUID'],
      [12, 'HLT'],
      [13, 'INVD'],
      [14, 'INVLPG'],
      [15, 'RDPMC'],
      [16, 'RDTSC'],
      [18, 'VMCALL'],
      [19, 'VMCLEAR'],
      [20, 'VMLAUNCH'],
      [24, 'VMRESUME'],
      [27, 'VMXON'],
      [28, 'CR_ACCESS'],
      [29, 'MOV_DR'],
      [30, 'IO_INSTRUCTION'],
      [31, 'MSR_READ'],
      [32, 'MSR_WRITE'],
      [33, 'ENTRY_FAILURE_GUEST_STATE'],
      [36, 'MWAIT'],
      [37, 'MONITOR_TRAP_FLAG'],
      [39, 'MONITOR'],
      [40, 'PAUSE'],
      [43, 'TPR_BELOW_THRESHOLD'],
      [44, 'APIC_ACCESS'],
      [48, 'EPT_VIOLATION'],
      [49, 'EPT_MISCONFIG'],
      [50, 'INVEPT'],
      [51, 'RDTSCP'],
      [52, 'VMX_PREEMPTION_TIMER'],
      [53, 'INVVPID'],
      [54, 'WBINVD'],
      [55, 'XSETBV'],
      [58, 'INVPCID'],
      [59, 'VMFUNC'],
      [63, 'XSAVES'],
      [64, 'XRSTORS'],
      [74, 'BUS_LOCK'],
    ];
    for (const [number, name] of expected) {
      assert.equal(exitReason(number).name, name);
      assert.equal(exitReasonByName(name)?.number, number);
    }
    for (const number of Object.values(ExitReason)) assert.ok(EXIT_REASONS.some((row) => row.number === number));
  });

  it('are unique, described and in order', () => {
    const numbers = EXIT_REASONS.map((row) => row.number);
    assert.deepEqual(
      numbers,
      [...new Set(numbers)].sort((a, b) => a - b),
    );
    assert.equal(new Set(EXIT_REASONS.map((row) => row.name)).size, numbers.length);
    for (const row of EXIT_REASONS) {
      assert.match(row.name, /^[A-Z][A-Z_]*$/);
      assert.ok(row.description.length > 3 && !row.description.includes('\n'));
      assert.match(row.reference, /^SDM Vol\. 3/);
    }
    assert.equal(exitReason(35).name, 'EXIT_35');
    assert.equal(exitReason(0x80000021).name, 'ENTRY_FAILURE_GUEST_STATE');
  });
});

describe('exit qualifications', () => {
  it('encode as SDM Vol. 3C section "Basic VM-Exit Information" lays them out', () => {
    // Table "Exit Qualification for I/O Instructions".
    assert.equal(encodeIoQualification({ port: 0x3f8, size: 1, in: false, immediate: false }), 0x03f80000);
    assert.equal(encodeIoQualification({ port: 0x60, size: 1, in: true, immediate: true }), 0x00600048);
    assert.equal(encodeIoQualification({ port: 0xffff, size: 4, in: true, string: true, rep: true }), 0xffff003b);
    assert.throws(() => encodeIoQualification({ port: 0x10000, size: 1, in: true }), RangeError);
    // Table "Exit Qualification for Control-Register Accesses".
    assert.equal(encodeCrQualification({ number: 3, access: CrAccess.movTo, register: 2 }), 0x203);
    assert.equal(encodeCrQualification({ number: 8, access: CrAccess.movFrom, register: 15 }), 0xf18);
    assert.equal(encodeCrQualification({ number: 0, access: CrAccess.clts }), 0x20);
    assert.equal(
      encodeCrQualification({ number: 0, access: CrAccess.lmsw, lmswMemory: true, lmswSource: 0xfff1 }),
      0xfff10070,
    );
    // Tables for MOV DR, task switches, APIC accesses.
    assert.equal(encodeDrQualification({ number: 7, from: true, register: 1 }), 0x117);
    assert.equal(encodeTaskSwitchQualification({ selector: 0x28, source: 3 }), 0xc0000028);
    assert.equal(encodeApicAccessQualification({ offset: 0xb0, access: 1 }), 0x10b0);
    // Table "Exit Qualification for EPT Violations".
    assert.equal(encodeEptViolationQualification(2, 5, 'page'), 0x1aa);
    assert.equal(encodeEptViolationQualification(1, 0, 'paging structure'), 0x81);
    assert.equal(encodeEptViolationQualification(4, 1), 0x0c);
    // Table "Format of the VM-Exit Interruption-Information Field".
    assert.equal(encodeInterruptionInformation(14, InterruptionType.hardwareException, true), 0x80000b0e);
    assert.equal(encodeInterruptionInformation(0x20, InterruptionType.externalInterrupt), 0x80000020);
    assert.equal(encodeInterruptionInformation(2, InterruptionType.nmi, false, true), 0x80001202);
  });

  it('decode by name', () => {
    const io = exit({ reason: 30, qualification: 0x03f80001n, rax: 0xffffffff12345678n });
    assert.deepEqual(describeQualification(io), [
      { name: 'Size of access (bits 2:0)', value: '0x1', text: '2 bytes' },
      { name: 'Direction (bit 3)', value: '0', text: 'OUT' },
      { name: 'String instruction (bit 4)', value: '0', text: 'not string' },
      { name: 'REP prefixed (bit 5)', value: '0', text: 'not REP' },
      { name: 'Operand encoding (bit 6)', value: '0', text: 'DX' },
      { name: 'Port number (bits 31:16)', value: '0x03f8' },
    ]);
    const pf = exit({ reason: 0, interruptionInfo: 0x80000b0e, qualification: 0xffff800000001234n });
    assert.deepEqual(describeQualification(pf), [{ name: 'Linear address', value: '0xffff800000001234' }]);
    const db = exit({ reason: 0, interruptionInfo: 0x80000301, qualification: 0x4001n });
    const set = describeQualification(db).filter((field) => field.value === '1');
    assert.deepEqual(
      set.map((field) => field.name),
      ['B0 (bit 0)', 'BS (bit 14)'],
    );
    assert.deepEqual(describeQualification(exit({ reason: 12 })), []);
  });
});

describe('exit fields for conditions', () => {
  const fields = (parts: Partial<VmExit>, ...names: string[]) => {
    const values = exitFields(exit(parts));
    return names.map((name) => values[name]);
  };

  it('port I/O', () => {
    const out = { reason: 30, qualification: 0x03f80000n, rax: 0x1234n };
    assert.deepEqual(fields(out, 'port', 'size', 'write', 'string', 'rep', 'value'), [0x3f8n, 1n, 1n, 0n, 0n, 0x34n]);
    const ins = { reason: 30, qualification: 0x01f0003bn, rax: 5n, guestLinear: 0x7000n };
    assert.deepEqual(fields(ins, 'port', 'size', 'write', 'string', 'rep', 'value', 'gla'), [
      0x1f0n,
      4n,
      0n,
      1n,
      1n,
      undefined,
      0x7000n,
    ]);
  });

  it('CPUID, MSRs, control registers, EPT, exceptions', () => {
    const regs = { rax: 0xaaaaaaaa40000000n, rcx: 0xbbbbbbbb00000001n, rdx: 0xcccccccc12345678n };
    assert.deepEqual(fields({ reason: 10, ...regs }, 'leaf', 'subleaf'), [0x40000000n, 1n]);
    assert.deepEqual(fields({ reason: 32, ...regs }, 'msr', 'value', 'write'), [1n, 0x1234567840000000n, 1n]);
    assert.deepEqual(fields({ reason: 31, ...regs }, 'msr', 'value', 'write'), [1n, undefined, 0n]);
    assert.deepEqual(fields({ reason: 28, qualification: 0x003n, ...regs }, 'cr', 'write', 'value'), [
      3n,
      1n,
      regs.rax,
    ]);
    assert.deepEqual(fields({ reason: 28, qualification: 0x613n }, 'cr', 'write', 'value'), [3n, 0n, undefined]);
    assert.deepEqual(
      fields(
        { reason: 48, qualification: 0x1aan, guestPhysical: 0xfee000b0n, guestLinear: 9n },
        'gpa',
        'gla',
        'write',
        'read',
        'fetch',
      ),
      [0xfee000b0n, 9n, 1n, 0n, 0n],
    );
    assert.deepEqual(fields({ reason: 48, qualification: 1n, guestLinear: 9n }, 'gla', 'read'), [undefined, 1n]);
    const pf = { reason: 0, interruptionInfo: 0x80000b0e, interruptionError: 0xfffffff2, qualification: 0xdead000n };
    assert.deepEqual(fields(pf, 'vector', 'error', 'gla'), [14n, 0xfffffff2n, 0xdead000n]);
    assert.deepEqual(fields({ reason: 0, interruptionInfo: 0x80000306 }, 'vector', 'error'), [6n, undefined]);
  });

  it('one at a time, and never a name from the prototype', () => {
    assert.equal(exitField(exit({ reason: 14, qualification: 0x1000n }), 'gla'), 0x1000n);
    assert.equal(exitField(exit({ reason: 14, rip: 5n }), 'rip'), 5n);
    assert.equal(exitField(exit({ reason: 14 }), 'constructor'), undefined);
    assert.equal(exitField(exit({ reason: 0xffff }), 'port'), undefined);
  });
});

describe('exit summaries', () => {
  const cases: [string, Partial<VmExit>][] = [
    ['out 0x3f8 <- 0x41 (8 bits)', { reason: 30, qualification: 0x03f80000n, rax: 0x7741n }],
    ['in 0x3fd (8 bits)', { reason: 30, qualification: 0x03fd0008n }],
    ['rep outs 0x1f0 (16 bits)', { reason: 30, qualification: 0x01f00031n }],
    ['CPUID leaf 0x0 subleaf 0x0', { reason: 10 }],
    ['wrmsr IA32_EFER <- 0x500', { reason: 32, rcx: 0xc0000080n, rax: 0x500n }],
    ['rdmsr 0x12345', { reason: 31, rcx: 0x12345n }],
    ['write of gpa 0xfee000b0', { reason: 48, qualification: 2n, guestPhysical: 0xfee000b0n }],
    ['fetch of gpa 0x1000', { reason: 48, qualification: 4n, guestPhysical: 0x1000n }],
    ['EPT misconfiguration at gpa 0x1000', { reason: 49, guestPhysical: 0x1000n }],
    ['mov cr3 <- 0x1000', { reason: 28, qualification: 3n, rax: 0x1000n }],
    ['mov cr3 <- rdi', { reason: 28, qualification: 0x703n }],
    ['mov rbx <- cr8', { reason: 28, qualification: 0x318n }],
    ['clts', { reason: 28, qualification: 0x20n }],
    ['lmsw <- 0xfff1', { reason: 28, qualification: 0xfff10030n }],
    ['vmcall rax 0x1 rcx 0x2 rdx 0x3', { reason: 18, rax: 1n, rcx: 2n, rdx: 3n }],
    [
      '#PF error 0x2 at 0x5000',
      { reason: 0, interruptionInfo: 0x80000b0e, interruptionError: 2, qualification: 0x5000n },
    ],
    ['#UD', { reason: 0, interruptionInfo: 0x80000306 }],
    ['non-maskable interrupt (NMI)', { reason: 0, interruptionInfo: 0x80000202 }],
    ['external interrupt 0x30', { reason: 1, interruptionInfo: 0x80000030 }],
    ['hlt', { reason: 12 }],
    ['triple fault', { reason: 2 }],
    ['xsetbv XCR0 <- 0x7', { reason: 55, rax: 7n }],
  ];
  for (const [text, parts] of cases) {
    it(text, () => assert.equal(summary(exit(parts)), text));
  }

  it('every reason has a one-line summary and a full description, whatever the fields hold', () => {
    const wild = { qualification: (1n << 64n) - 1n, rax: (1n << 64n) - 1n, interruptionInfo: 0xffffffff };
    for (let reason = 0; reason < 100; reason++) {
      assert.match(summary(exit({ reason, ...wild })), /^.+$/);
      assert.ok(describeExit(exit({ reason, ...wild })).length > 5);
      exitFields(exit({ reason, ...wild }));
    }
  });
});
