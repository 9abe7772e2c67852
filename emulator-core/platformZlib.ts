/** What a platform's own zlib does faster than what every platform has. */
export interface PlatformZlib {
  /**
   * Expands a zlib stream (RFC 1950) whose bytes come in pieces, into pieces of any size that nobody else writes to. Iterating throws where
   * the stream is damaged or cut off.
   */
  expand(pieces: Iterable<Uint8Array>): AsyncIterable<Uint8Array>;
  /** CRC-32 as in RFC 1952, unsigned; that of what comes before `bytes` is `before`, or 0. Absent: it has none. */
  crc32?(bytes: Uint8Array, before?: number): number;
}
