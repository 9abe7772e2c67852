/** The data of a kernel with structs of a test's own, at places of a test's own, with their BTF. */
import { BtfTypes } from '../../../../debug-adapter/symbols/btf/btfTypes';
import type { KernelContext } from '../../../../debug-adapter/introspection/linux/kernelMemory';
import { BtfBuilder } from '../../symbols/btf/builder';

export const BASE = 0xffffffff82000000n;
const SIZE = 1 << 16;

/** Members: name, bytes or the name of a struct, offset; a bit field has its first bit and its width behind that. */
type Members = [name: string, type: number | string, offset: number, bit?: number, bits?: number][];

export class KernelInMemory {
  readonly data = new Uint8Array(SIZE);
  readonly names = new Map<string, bigint>();
  private readonly btf = new BtfBuilder();
  private readonly ids = new Map<number | string, number>();

  /** Structs whose members name others come behind those. A size above 8 is an array of bytes. */
  struct(name: string, size: number, members: Members): this {
    const flag = members.some(([, , , , bits]) => bits);
    const list = members.map(([member, type, offset, bit = 0, bits = 0]): [string, number, number, number] => [
      member,
      this.typeOf(type),
      8 * offset + bit,
      bits,
    ]);
    this.ids.set(name, this.btf.aggregate(4, name, size, list, flag));
    return this;
  }

  /** An array of a struct as a type of its own. */
  array(name: string, of: string, count: number): this {
    this.ids.set(name, this.btf.array(this.typeOf(of), count, this.typeOf(4)));
    return this;
  }

  private typeOf(type: number | string): number {
    let id = this.ids.get(type);
    if (id === undefined) {
      if (typeof type === 'string') throw new Error(`struct ${type} comes later`);
      id = type > 8 ? this.btf.array(this.typeOf(1), type, this.typeOf(4)) : this.btf.int(`u${8 * type}`, type);
      this.ids.set(type, id);
    }
    return id;
  }

  put(address: bigint, value: number | bigint, size: 1 | 2 | 4 | 8 = 8): this {
    for (let i = 0, rest = BigInt.asUintN(64, BigInt(value)); i < size; i++, rest >>= 8n)
      this.data[Number(address - BASE) + i] = Number(rest & 0xffn);
    return this;
  }

  text(address: bigint, text: string): this {
    this.data.set(new TextEncoder().encode(text), Number(address - BASE));
    return this;
  }

  /** A circular list of links, the head first. */
  ring(...links: bigint[]): this {
    links.forEach((link, i) => {
      const next = links[(i + 1) % links.length];
      this.put(link, next).put(next + 8n, link);
    });
    return this;
  }

  context(more: Partial<KernelContext> = {}): KernelContext {
    const types = new BtfTypes('vmlinux', this.btf.bytes());
    return {
      target: {
        readMemory: async (_space, _cpu, address, length) => {
          const at = Number(address - BASE);
          return at < 0 || at >= SIZE ? new Uint8Array(0) : this.data.slice(at, at + length);
        },
      },
      symbols: {
        findSymbol: (name) => {
          const address = this.names.get(name);
          return address === undefined ? undefined : ({ name, address } as never);
        },
        findType: (name) => types.findType(name.replace(/^struct /, ''), 'struct'),
      },
      cpu: 0,
      wide: true,
      ...more,
    };
  }
}
