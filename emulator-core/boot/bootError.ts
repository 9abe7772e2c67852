/** A guest image that cannot be booted. The message names the file, the offset or attribute, and what was expected. */
export class BootError extends Error {
  override name = 'BootError';
}
