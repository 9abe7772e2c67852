/** Node's zlib: it expands in a thread of its own, and its CRC-32 is the processor's. */
import { pipeline, Readable } from 'node:stream';
import * as nodeZlib from 'node:zlib';
import type { PlatformZlib } from '../../emulator-core/platformZlib';

/** Bytes in a piece: small ones cost more turns of the event loop than zlib takes for them. */
const CHUNK = 1 << 20;
/** Bytes that may lie ready: the thread goes on while the pieces before are looked at. */
const AHEAD = 4 << 20;

/** Node has it from 20.15 and 22.2 on. */
const { crc32 } = nodeZlib as { crc32?: PlatformZlib['crc32'] };

export const zlib: PlatformZlib = {
  expand(pieces) {
    const options: nodeZlib.ZlibOptions & { readableHighWaterMark: number } = {
      chunkSize: CHUNK,
      readableHighWaterMark: AHEAD,
    };
    const inflate = nodeZlib.createInflate(options);
    // What goes wrong is for the reader of `inflate` to hear; giving it up ends the source, too.
    pipeline(Readable.from(pieces), inflate, () => undefined);
    return inflate as AsyncIterable<Uint8Array>;
  },
  crc32,
};
