/** Disk images: what a file holds, as the bytes of a disk. */
import { memorySource, type ByteSource } from '../boot/byteSource';
import { openQcow2, QCOW2_MAGIC } from './qcow2';

/** An image file, read piece by piece. */
export interface ImageFile extends ByteSource {
  /** For messages. */
  readonly name: string;
}

/** What a disk holds before anybody writes to it. */
export interface DiskContents {
  readonly format: 'raw' | 'qcow2';
  /** Bytes. */
  readonly size: number;
  /** `length` bytes at `offset`, both within `size`; not to be written to. @throws ImageError */
  readBytes(offset: number, length: number): Uint8Array;
}

/** An image that can't be used. The message names the file, the offset in it, and what was expected. */
export class ImageError extends Error {
  override name = 'ImageError';
}

/** The contents of an image: qcow2 by its magic number, else raw. @throws ImageError */
export function openImage(file: ImageFile): DiskContents {
  if (file.size === 0) throw new ImageError(`'${file.name}' is empty`);
  const magic = readExactly(file, 0, Math.min(4, file.size));
  if (QCOW2_MAGIC.every((byte, i) => magic[i] === byte)) return openQcow2(file);
  return rawContents(file);
}

export function rawContents(file: ImageFile): DiskContents {
  return { format: 'raw', size: file.size, readBytes: (offset, length) => readExactly(file, offset, length) };
}

/** A view of `length` bytes. @throws ImageError when the file cannot be read or ends before */
export function readExactly(file: ImageFile, offset: number, length: number): Uint8Array {
  const where = `'${file.name}', offset 0x${offset.toString(16)}`;
  if (offset + length > file.size) {
    const left = Math.max(0, file.size - offset);
    throw new ImageError(`${where}: ${length} bytes expected, the file ends after ${left}`);
  }
  try {
    return file.read(offset, length);
  } catch (error) {
    throw new ImageError(`${where}: can't be read: ${(error as Error).message}`);
  }
}

/** An image file over bytes in memory. */
export function memoryImage(name: string, bytes: Uint8Array): ImageFile {
  return { name, ...memorySource(bytes) };
}
