/** BTF data written by hand, after Linux, Documentation/bpf/btf.rst. Numbers are those of the document, not the reader's. */
export class BtfBuilder {
  private readonly types: number[] = [];
  private readonly strings: number[] = [0];
  private count = 0;

  /** Offset of a string. */
  string(text: string): number {
    if (text === '') return 0;
    const at = this.strings.length;
    this.strings.push(...new TextEncoder().encode(text), 0);
    return at;
  }

  private word(value: number): void {
    for (let i = 0; i < 4; i++) this.types.push((value >>> (i * 8)) & 0xff);
  }

  /** Appends a type; returns its id. `words`: what follows the common part. */
  type(kind: number, name: string, sizeOrType: number, words: number[] = [], count = 0, flag = false): number {
    this.word(this.string(name));
    this.word(((flag ? 1 << 31 : 0) | (kind << 24) | count) >>> 0);
    this.word(sizeOrType);
    for (const each of words) this.word(each);
    return ++this.count;
  }

  int(name: string, size: number, encoding = 0, bits = size * 8, offset = 0): number {
    return this.type(1, name, size, [(encoding << 24) | (offset << 16) | bits]);
  }
  pointer(type: number): number {
    return this.type(2, '', type);
  }
  array(element: number, count: number, index: number): number {
    return this.type(3, '', 0, [element, index, count]);
  }
  /** Members: name, type, offset in bits and, with the flag, size of a bit field. */
  aggregate(
    kind: 4 | 5,
    name: string,
    size: number,
    members: [string, number, number, number?][],
    flag = false,
  ): number {
    const words = members.flatMap(([member, type, offset, bits = 0]) => [
      this.string(member),
      type,
      offset | (bits << 24),
    ]);
    return this.type(kind, name, size, words, members.length, flag);
  }
  enumeration(name: string, values: [string, number][], signed = false): number {
    const words = values.flatMap(([each, value]) => [this.string(each), value]);
    return this.type(6, name, 4, words, values.length, signed);
  }
  prototype(result: number, parameters: [string, number][]): number {
    const words = parameters.flatMap(([name, type]) => [this.string(name), type]);
    return this.type(13, '', result, words, parameters.length);
  }
  /** The next type's id. */
  get next(): number {
    return this.count + 1;
  }

  bytes(): Uint8Array {
    const header = new DataView(new ArrayBuffer(24));
    header.setUint16(0, 0xeb9f, true);
    header.setUint8(2, 1);
    const words = [24, 0, this.types.length, this.types.length, this.strings.length];
    words.forEach((value, i) => header.setUint32(4 + i * 4, value, true));
    return Uint8Array.from([...new Uint8Array(header.buffer), ...this.types, ...this.strings]);
  }
}
