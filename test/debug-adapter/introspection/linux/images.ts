/** Kernel images for tests. */

/** A bzImage of one setup sector with this payload 16 bytes into the protected-mode part. boot.rst, "The Real-Mode Kernel Header". */
export function bzImage(payload: Uint8Array, { version = 0x20f, length = payload.length } = {}): Uint8Array {
  const image = new Uint8Array(1024 + 16 + payload.length);
  const view = new DataView(image.buffer);
  image[0x1f1] = 1;
  view.setUint16(0x1fe, 0xaa55, true);
  image.set([0xeb, 0x66], 0x200); // the jump over the header, which ends at 268h
  image.set(new TextEncoder().encode('HdrS'), 0x202);
  view.setUint16(0x206, version, true);
  view.setUint32(0x248, 16, true);
  view.setUint32(0x24c, length, true);
  image.set(payload, 1024 + 16);
  return image;
}
