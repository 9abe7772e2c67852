/** Instructions of memory protection: SMAP's AC flag, protection keys, PCID invalidation. */
import { Flag } from '../../cpu/vcpu';
import type { Builder } from '../../translate/builder';
import { i32, i32c } from '../../translate/wasm';
import type { Family, Instruction } from './instruction';

const row = (mnemonic: string, manual: string, assist: string, feature: string): Instruction => ({
  mnemonic,
  manual,
  assist,
  feature,
});

/** RFLAGS.AC at level 0: which soft TLB is in use follows from it. #UD at the other levels is the assist's. */
function setAccessControl(b: Builder, on: boolean): void {
  b.assistWhen(b.privilegeLevel());
  const cleared = i32.and(b.systemFlags(), i32c(~Flag.AC));
  const flags = b.let(on ? i32.or(cleared, i32c(Flag.AC)) : cleared);
  b.setSystemFlags(flags);
  b.setPrivilegeLevel(i32c(0), flags);
}

export const protection: Family = [
  {
    ...row('Stac', 'STAC—Set AC Flag in EFLAGS Register', 'setAccessControl', 'smap'),
    semantics: (b) => setAccessControl(b, true),
  },
  {
    ...row('Clac', 'CLAC—Clear AC Flag in EFLAGS Register', 'clearAccessControl', 'smap'),
    semantics: (b) => setAccessControl(b, false),
  },
  row('Rdpkru', 'RDPKRU—Read Protection Key Rights for User Pages', 'readKeyRights', 'pku'),
  row('Wrpkru', 'WRPKRU—Write Data to User Page Key Register', 'writeKeyRights', 'pku'),
  {
    ...row('Invpcid', 'INVPCID—Invalidate Process-Context Identifier', 'invalidateContext', 'invpcid'),
    endsBlock: true,
  },
];
