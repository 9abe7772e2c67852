/** Compressed data that is malformed, or in a form that is not understood. */
export class CompressionError extends Error {
  override name = 'CompressionError';

  constructor(format: string, what: string) {
    super(`${format}: ${what}`);
  }
}
