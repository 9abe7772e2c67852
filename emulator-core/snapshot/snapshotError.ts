/** A snapshot that can't be used. The message names the file, the offset in it, and what was expected. */
export class SnapshotError extends Error {
  override name = 'SnapshotError';
}
