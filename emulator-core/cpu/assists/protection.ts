/** STAC, CLAC, RDPKRU, WRPKRU. SDM Vol. 3A, "Determination of Access Rights" and "Protection Keys". */
import type { CpuContext } from '../cpuContext';
import { State } from '../layout';
import { Cr4, Flag, GuestFault, Vector } from '../vcpu';
import type { Assist } from './operands';

const RAX = 0;
const RCX = 1;
const RDX = 2;

function setAccessControl(c: CpuContext, on: boolean): void {
  if (c.cpu.cpl !== 0) throw new GuestFault(Vector.UD);
  c.cpu.setSystemFlag(Flag.AC, on);
  c.cpu.selectTlb();
}

/** RDPKRU and WRPKRU exist while CR4.PKE is set, and want ECX = 0. */
function checkKeys(c: CpuContext): void {
  if (!(c.cpu.cr4 & Cr4.PKE)) throw new GuestFault(Vector.UD);
  if (c.cpu.gpr32(RCX) !== 0) throw new GuestFault(Vector.GP, 0);
}

export const protectionAssists: Record<string, Assist> = {
  setAccessControl: (c) => setAccessControl(c, true),
  clearAccessControl: (c) => setAccessControl(c, false),
  readKeyRights: (c) => {
    checkKeys(c);
    c.cpu.setGpr32(RAX, c.cpu.get32(State.pkru));
    c.cpu.setGpr32(RDX, 0);
  },
  writeKeyRights: (c) => {
    checkKeys(c);
    if (c.cpu.gpr32(RDX) !== 0) throw new GuestFault(Vector.GP, 0);
    c.cpu.setPkru(c.cpu.gpr32(RAX));
  },
};
