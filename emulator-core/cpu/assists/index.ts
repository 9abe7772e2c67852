/** The assists that need nothing but the vCPU; those that may exit to the VMM are in virt/exitAssists.ts. */
import { cacheAssists } from './cache';
import { decimalAssists } from './decimal';
import { flagAssists } from './flags';
import { farAssists } from './farTransfer';
import { fastCallAssists } from './fastCalls';
import { fpuAssists } from './fpu';
import { interruptReturnAssists } from './interruptReturn';
import type { Assist } from './operands';
import { protectionAssists } from './protection';
import { segmentBaseAssists } from './segmentBases';
import { softwareInterruptAssists } from './softwareInterrupt';
import { tableAssists } from './tables';
import { vectorMemoryAssists } from './vectorMemory';

export const ASSISTS: Record<string, Assist> = {
  ...flagAssists,
  ...cacheAssists,
  ...decimalAssists,
  ...tableAssists,
  ...farAssists,
  ...interruptReturnAssists,
  ...softwareInterruptAssists,
  ...fastCallAssists,
  ...segmentBaseAssists,
  ...fpuAssists,
  ...protectionAssists,
  ...vectorMemoryAssists,
};
