/** The assists that need nothing but the vCPU; those that may exit to the VMM are in virt/exitAssists.ts. */
import { cacheAssists } from './cache';
import { decimalAssists } from './decimal';
import { flagAssists } from './flags';
import { fpuAssists } from './fpu';
import type { Assist } from './operands';
import { protectionAssists } from './protection';
import { tableAssists } from './tables';
import { transferAssists } from './transfer';

export const ASSISTS: Record<string, Assist> = {
  ...flagAssists,
  ...cacheAssists,
  ...decimalAssists,
  ...tableAssists,
  ...transferAssists,
  ...fpuAssists,
  ...protectionAssists,
};
