/**
 * Skips the running test, or from a `before` hook its whole suite, and has the reason printed with the results.
 * @param reason what is missing and how to get it
 */
export function skip(context: Mocha.Context, reason: string): never {
  const runnable = context.runnable() as Mocha.Runnable & { parent?: Mocha.Suite };
  const holder = (runnable.type === 'hook' ? runnable.parent : runnable) as { skipReason?: string } | undefined;
  if (holder) holder.skipReason = reason;
  context.skip();
}
