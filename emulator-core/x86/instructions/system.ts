/** System instructions: ports, tables, modes, model-specific registers, and what exits to the VMM. Nearly all assists: rare and wide. */
import { State } from '../../cpu/layout';
import { Flag } from '../../cpu/vcpu';
import type { Builder } from '../../translate/builder';
import { i32, i32c, i64c, type Expr } from '../../translate/wasm';
import type { Family, Instruction } from './instruction';
import { swapGsBase } from './privilege';

const assisted = (assist: string, manual: string, ...mnemonics: string[]): Instruction[] =>
  mnemonics.map((mnemonic) => ({ mnemonic, manual, assist }));

/** As assisted, but what follows may run in another mode, at another place, or after an exit. */
const ending = (assist: string, manual: string, ...mnemonics: string[]): Instruction[] =>
  assisted(assist, manual, ...mnemonics).map((row) => ({ ...row, endsBlock: true }));

const featured = (feature: string, list: Instruction[]): Instruction[] => list.map((row) => ({ ...row, feature }));

function setDirection(b: Builder, down: boolean): void {
  const cleared = i32.and(b.systemFlags(), i32c(~Flag.DF));
  b.setSystemFlags(down ? i32.or(cleared, i32c(Flag.DF)) : cleared);
  b.setState64(State.direction, i64c(down ? -1 : 1));
}

/** i32: virtual-8086 mode, or CPL above IOPL. */
function beyondIoPrivilege(b: Builder, flags: Expr): Expr {
  const ioPrivilege = i32.and(i32.shrU(flags, i32c(Math.log2(Flag.IOPL / 3))), i32c(3));
  return i32.or(i32.and(flags, i32c(Flag.VM)), i32.ltS(ioPrivilege, b.privilegeLevel()));
}

export const system: Family = [
  ...assisted('input', 'IN—Input From Port', 'In'),
  {
    mnemonic: 'Out',
    operands: /_AL$/,
    manual: 'OUT—Output to Port',
    assist: 'output',
    semantics: (b) => {
      // The I/O permission bitmap decides.
      b.assistWhen(beyondIoPrivilege(b, b.let(b.systemFlags())));
      b.outputByte();
    },
  },
  ...assisted('output', 'OUT—Output to Port', 'Out'),
  {
    mnemonic: 'Cli',
    manual: 'CLI—Clear Interrupt Flag',
    assist: 'clearInterrupts',
    semantics: (b) => {
      const flags = b.let(b.systemFlags());
      // #GP, or the virtual interrupt flag.
      b.assistWhen(beyondIoPrivilege(b, flags));
      b.setSystemFlags(i32.and(flags, i32c(~Flag.IF)));
    },
  },
  ...assisted('setInterrupts', 'STI—Set Interrupt Flag', 'Sti'),
  { mnemonic: 'Cld', manual: 'CLD—Clear Direction Flag', semantics: (b) => setDirection(b, false) },
  { mnemonic: 'Std', manual: 'STD—Set Direction Flag', semantics: (b) => setDirection(b, true) },
  ...ending('halt', 'HLT—Halt', 'Hlt'),
  {
    mnemonic: 'Pause',
    manual: 'PAUSE—Spin Loop Hint',
    assist: 'pause',
    semantics: (b) => b.assistWhen(b.pauseExits()),
  },
  { mnemonic: 'Cpuid', manual: 'CPUID—CPU Identification', assist: 'cpuid', semantics: (b) => b.cpuid() },
  ...featured('msr', assisted('readMsr', 'RDMSR—Read From Model Specific Register', 'Rdmsr')),
  ...featured('msr', ending('writeMsr', 'WRMSR—Write to Model Specific Register', 'Wrmsr')),
  ...featured('tsc', assisted('readTimeStamp', 'RDTSC—Read Time-Stamp Counter', 'Rdtsc')),
  ...featured('rdtscp', assisted('readTimeStampAndId', 'RDTSCP—Read Time-Stamp Counter and Processor ID', 'Rdtscp')),
  ...assisted('readPerformanceCounter', 'RDPMC—Read Performance-Monitoring Counters', 'Rdpmc'),
  ...assisted('storeDescriptorTable', 'SGDT—Store Global Descriptor Table Register', 'Sgdt', 'Sidt'),
  ...assisted('loadDescriptorTable', 'LGDT/LIDT—Load Global/Interrupt Descriptor Table Register', 'Lgdt', 'Lidt'),
  ...assisted('storeSystemSegment', 'SLDT—Store Local Descriptor Table Register', 'Sldt', 'Str'),
  ...assisted('loadLocalDescriptorTable', 'LLDT—Load Local Descriptor Table Register', 'Lldt'),
  ...assisted('loadTask', 'LTR—Load Task Register', 'Ltr'),
  ...assisted('storeMachineStatus', 'SMSW—Store Machine Status Word', 'Smsw'),
  ...ending('loadMachineStatus', 'LMSW—Load Machine Status Word', 'Lmsw'),
  ...assisted('clearTaskSwitched', 'CLTS—Clear Task-Switched Flag in CR0', 'Clts'),
  ...assisted('invalidatePage', 'INVLPG—Invalidate TLB Entries', 'Invlpg'),
  ...assisted('invalidateCaches', 'WBINVD—Write Back and Invalidate Cache', 'Wbinvd', 'Wbnoinvd'),
  ...assisted('invalidateCaches', 'INVD—Invalidate Internal Caches', 'Invd'),
  { mnemonic: 'Swapgs', manual: 'SWAPGS—Swap GS Base Register', assist: 'swapGs', semantics: swapGsBase },
  ...featured('fsgsbase', [
    ...assisted('readSegmentBase', 'RDFSBASE/RDGSBASE—Read FS/GS Segment Base', 'Rdfsbase', 'Rdgsbase'),
    ...assisted('writeSegmentBase', 'WRFSBASE/WRGSBASE—Write FS/GS Segment Base', 'Wrfsbase', 'Wrgsbase'),
  ]),
  ...assisted('vmcall', 'VMCALL—Call to VM Monitor', 'Vmcall'),
  ...ending('vmmcall', 'VMMCALL—Call VMM (AMD APM Vol. 3)', 'Vmmcall'),
  ...assisted('loadAccessRights', 'LAR—Load Access Rights Byte', 'Lar'),
  ...assisted('loadSegmentLimit', 'LSL—Load Segment Limit', 'Lsl'),
  ...assisted('adjustRequestedPrivilege', 'ARPL—Adjust RPL Field of Segment Selector', 'Arpl'),
  ...assisted('verifySegment', 'VERR/VERW—Verify a Segment for Reading or Writing', 'Verr', 'Verw'),
];
