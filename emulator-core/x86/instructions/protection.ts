/** Instructions of memory protection: SMAP's AC flag, protection keys, PCID invalidation. All assists: rare. */
import type { Family, Instruction } from './instruction';

const row = (mnemonic: string, manual: string, assist: string, feature: string): Instruction => ({
  mnemonic,
  manual,
  assist,
  feature,
});

export const protection: Family = [
  row('Stac', 'STAC—Set AC Flag in EFLAGS Register', 'setAccessControl', 'smap'),
  row('Clac', 'CLAC—Clear AC Flag in EFLAGS Register', 'clearAccessControl', 'smap'),
  row('Rdpkru', 'RDPKRU—Read Protection Key Rights for User Pages', 'readKeyRights', 'pku'),
  row('Wrpkru', 'WRPKRU—Write Data to User Page Key Register', 'writeKeyRights', 'pku'),
  {
    ...row('Invpcid', 'INVPCID—Invalidate Process-Context Identifier', 'invalidateContext', 'invpcid'),
    endsBlock: true,
  },
];
