/** Something wrong in what the user gave: one clear line on standard error, exit status 2. */
export class UsageError extends Error {
  override name = 'UsageError';
}
