/**
 * The vCPU's registers by name, for the debugger: one row each says group, width, how to read, what may be written and what the
 * value means. Names as people type them: rax, eflags parts through rflags, cs.base, cr3, IA32_EFER.
 */
import type { Machine } from '../machine';
import { SegmentIndex, State, type SegmentName } from './layout';
import { MSRS, describeMsr, readMsr, writeMsr } from './msrs';
import { Cr0, Cr4, Flag, Rights, type Vcpu } from './vcpu';
import { cpuidHas } from './cpuid';
import { msrView } from './msrView';
import { PointerLoad } from '../mmu/mmu';
import { STATE_COMPONENTS } from './stateComponents';
import { fpuRegisters } from './fpuRegisters';
import { bitNames, type RegisterRow } from './registerRow';

export type { RegisterGroup, RegisterRow } from './registerRow';

const GPRS = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
];

function describeFlags(value: bigint): string {
  const { IOPL, ...rest } = Flag;
  const names = bitNames(value, rest);
  const iopl = (Number(value & 0xffffffffn) & IOPL) >> 12;
  return iopl ? `${names} IOPL=${iopl}`.trim() : names;
}

const SYSTEM_TYPES = ['', 'TSS16', 'LDT', 'TSS16 busy', '', '', '', '', '', 'TSS', '', 'TSS busy'];

/** 'DPL=0 P L code execute/read accessed' from access rights in the VMCS format. */
export function describeRights(value: bigint): string {
  const r = Number(value);
  if (r & Rights.unusable) return 'unusable';
  const type = r & Rights.typeMask;
  const parts = [`DPL=${(r >> Rights.dplShift) & 3}`];
  if (r & Rights.P) parts.push('P');
  if (r & Rights.L) parts.push('L');
  if (r & Rights.DB) parts.push('D/B');
  if (r & Rights.G) parts.push('G');
  if (!(r & Rights.S)) parts.push(SYSTEM_TYPES[type] || `system type ${type}`);
  else if (type & 8) parts.push(`code execute${type & 2 ? '/read' : ''}${type & 4 ? ' conforming' : ''}`);
  else parts.push(`data read${type & 2 ? '/write' : ''}${type & 4 ? ' expand-down' : ''}`);
  return parts.join(' ');
}

function canonical(cpu: Vcpu, name: string, value: bigint): void {
  if (!cpu.canonical(value)) {
    const bits = `bits 63:${cpu.linearBits - 1} must be equal`;
    throw new Error(`${name}: 0x${value.toString(16)} is not a canonical address (${bits})`);
  }
}

function general(): RegisterRow[] {
  const rows: RegisterRow[] = GPRS.map((name, i) => ({
    name,
    group: 'Registers',
    width: 64,
    writable: true,
    read: (cpu) => cpu.gpr(i),
    write: (cpu, value) => cpu.setGpr(i, value),
  }));
  rows.push({
    name: 'rip',
    group: 'Registers',
    width: 64,
    writable: true,
    read: (cpu) => cpu.rip,
    write: (cpu, value) => {
      if (cpu.bitness === 64) canonical(cpu, 'rip', value);
      cpu.rip = value;
    },
  });
  rows.push({
    name: 'rflags',
    group: 'Registers',
    width: 64,
    writable: true,
    read: (cpu) => BigInt(cpu.rflags >>> 0),
    write: (cpu, value) => {
      if (value & ~0x3f7fd7n) throw new Error(`rflags: reserved bits are set in 0x${value.toString(16)}`);
      if ((Number(value) ^ cpu.rflags) & Flag.VM)
        throw new Error('rflags: VM cannot be changed here, it needs segments to match');
      cpu.rflags = Number(value);
      cpu.modeChanged();
      cpu.attention = true;
    },
    describe: describeFlags,
  });
  return rows;
}

function segments(): RegisterRow[] {
  return (Object.keys(SegmentIndex) as SegmentName[]).flatMap((name): RegisterRow[] => {
    const index = SegmentIndex[name];
    const part = (
      suffix: string,
      width: number,
      read: (cpu: Vcpu) => bigint,
      describe?: (v: bigint) => string,
    ): RegisterRow => ({
      name: suffix ? `${name}.${suffix}` : name,
      group: 'Segments',
      width,
      writable: suffix === 'base',
      read,
      write: (cpu, value) => {
        cpu.setSegment(index, cpu.selector(index), value, cpu.segmentLimit(index), cpu.rights(index));
        cpu.modeChanged();
      },
      describe,
    });
    return [
      part(
        '',
        16,
        (cpu) => BigInt(cpu.selector(index)),
        (v) => `index ${Number(v) >> 3} ${Number(v) & 4 ? 'LDT' : 'GDT'} RPL=${Number(v) & 3}`,
      ),
      part('base', 64, (cpu) => cpu.segmentBase(index)),
      part('limit', 32, (cpu) => BigInt(cpu.segmentLimit(index))),
      part('attr', 32, (cpu) => BigInt(cpu.rights(index) >>> 0), describeRights),
    ];
  });
}

/** 'x87 SSE AVX': the state components whose bits are set. */
function describeComponents(value: bigint): string {
  const all = [{ bit: 0, name: 'x87' }, { bit: 1, name: 'SSE' }, ...STATE_COMPONENTS];
  return all
    .filter(({ bit }) => (value >> BigInt(bit)) & 1n)
    .map(({ name }) => name)
    .join(' ');
}

/** 'key 1: no access, key 2: no writes': what PKRU denies. SDM Vol. 3A, "Protection Keys". */
function describeKeyRights(value: bigint): string {
  const denied: string[] = [];
  for (let key = 0n; key < 16n; key++) {
    const bits = (value >> (2n * key)) & 3n;
    if (bits) denied.push(`key ${key}: no ${bits & 1n ? 'access' : 'writes'}`);
  }
  return denied.join(', ');
}

function control(machine: Machine): RegisterRow[] {
  const slot = (name: string, offset: number, describe?: (v: bigint) => string, writable = false): RegisterRow => ({
    name,
    group: 'Control',
    width: 64,
    writable,
    read: (cpu) => cpu.get64(offset),
    write: writable
      ? (cpu, value) => {
          cpu.set64(offset, value);
          cpu.modeChanged();
          machine.core.flushTranslations(cpu);
        }
      : undefined,
    describe,
  });
  const rows = [
    slot('cr0', State.cr0, (v) => bitNames(v, Cr0)),
    slot('cr2', State.cr2, undefined, true),
    {
      ...slot('cr3', State.cr3, undefined, true),
      write: (cpu: Vcpu, value: bigint) => {
        // PAE paging walks from the registers that a load of CR3 fills.
        const pae = (cpu.cr0 & Cr0.PG) !== 0 && (cpu.cr4 & Cr4.PAE) !== 0 && !cpu.longMode;
        if (pae && machine.mmu.loadPointers(cpu, Number(value & 0xffffffffn)) !== PointerLoad.ok)
          throw new Error(`cr3: the page-directory pointers at 0x${value.toString(16)} have reserved bits set`);
        cpu.set64(State.cr3, value);
        machine.core.flushTranslations(cpu);
      },
    },
    slot('cr4', State.cr4, (v) => bitNames(v, Cr4)),
  ];
  if (cpuidHas(machine.model, 'xsave')) rows.push(slot('xcr0', State.xcr0, describeComponents));
  if (cpuidHas(machine.model, 'pku')) {
    rows.push({
      ...slot('pkru', State.pkru, describeKeyRights),
      width: 32,
      writable: true,
      write: (cpu, value) => cpu.setPkru(Number(value & 0xffffffffn)),
    });
  }
  rows.push({
    name: 'cr8',
    group: 'Control',
    width: 64,
    writable: false,
    read: (cpu) => BigInt(machine.platform.apic(cpu.index).cr8),
    describe: (v) => `task priority ${v}`,
  });
  for (const [name, base, limit] of [
    ['gdtr', State.gdtrBase, State.gdtrLimit],
    ['idtr', State.idtrBase, State.idtrLimit],
  ] as const) {
    rows.push(slot(`${name}.base`, base), { ...slot(`${name}.limit`, limit), width: 16 });
  }
  for (const n of [0, 1, 2, 3, 6, 7]) rows.push(slot(`dr${n}`, State.dr + n * 8, undefined, n < 4));
  return rows;
}

/** All registers of a machine's vCPUs. */
export function registerTable(machine: Machine): RegisterRow[] {
  const views = machine.vcpus.map((cpu) => msrView(cpu, machine));
  const msrs = MSRS.filter((row) => row.feature === undefined || views[0].cpuidHas(row.feature)).map(
    (row): RegisterRow => ({
      name: row.name,
      group: 'MSRs',
      width: 64,
      writable: row.writable,
      read: (cpu) => readMsr(views[cpu.index], row.index) ?? 0n,
      write: (cpu, value) => {
        if (!writeMsr(views[cpu.index], row.index, value)) {
          throw new Error(
            `${row.name}: WRMSR of 0x${value.toString(16)} would be #GP (reserved bits, or not allowed in this mode)`,
          );
        }
        cpu.modeChanged();
        machine.core.flushTranslations(cpu);
      },
      describe: (value) => describeMsr(row.index, value),
    }),
  );
  return [
    ...general(),
    ...segments(),
    ...control(machine),
    ...fpuRegisters(machine.model.features),
    ...msrs.filter((row) => !/^IA32_X2APIC/.test(row.name)),
  ];
}
