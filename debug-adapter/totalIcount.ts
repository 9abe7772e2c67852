import type { Target } from './target';

/** Instructions that a target has retired since it was launched, over resets by the guest, too. */
export function totalIcount(target: Target): number {
  return target.icount() + (target.retiredBefore?.() ?? 0);
}
