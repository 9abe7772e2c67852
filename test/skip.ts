/**
 * Skips the running test, or from a `before` hook its whole suite, and has the reason printed with the results.
 * @param reason what is missing and how to get it
 */
export function skip(context: Mocha.Context, reason: string): never {
  // A hook is skipped on behalf of its suite; mocha's types leave `type` out.
  const runnable = context.runnable() as Mocha.Runnable & { type: 'hook' | 'test'; parent?: Mocha.Suite };
  const holder: object | undefined = runnable.type === 'hook' ? runnable.parent : runnable;
  if (holder) Object.assign(holder, { skipReason: reason });
  context.skip();
}
