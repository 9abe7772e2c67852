import { atOnce } from '../../introspection/slices';
import { Encoding } from '../dwarf/constants';
import { declare, Enumerator, Member, named, once, sized, Type, voidType } from '../dwarf/types';
import { FunctionPrototype, TypeSource } from '../typeSource';
import { BtfData, Kind, RawType } from './format';

const POINTER_BYTES = 8;
/** BTF_INT_*. */
const SIGNED = 1;
const CHAR = 2;
const BOOL = 4;

/** Which kinds a keyword of C means; without one, any of these. */
const KEYWORDS = new Map<string, readonly number[]>([
  ['struct', [Kind.struct, Kind.forward]],
  ['union', [Kind.union, Kind.forward]],
  ['enum', [Kind.enum, Kind.enum64]],
]);
const ANY_TYPE: readonly number[] = [
  Kind.typedef,
  Kind.struct,
  Kind.union,
  Kind.enum,
  Kind.enum64,
  Kind.int,
  Kind.float,
  Kind.forward,
];

/** A kernel's types from its BTF, as the types of debug information: read one by one when asked for. */
export class BtfTypes implements TypeSource {
  private readonly data: BtfData;
  private readonly cache = new Map<number, Type>();

  /**
   * @param name where the data is from, for messages
   * @param bytes the contents of a section .BTF, of /sys/kernel/btf/vmlinux, or of the memory from __start_BTF to __stop_BTF; kept
   */
  constructor(
    readonly name: string,
    bytes: Uint8Array,
  ) {
    this.data = new BtfData(bytes);
  }

  prepare(): Generator<void, void> {
    return this.data.prepare();
  }

  get ready(): boolean {
    return this.data.ready;
  }

  get warnings(): readonly string[] {
    return this.data.problem === undefined ? [] : [`${this.name}: BTF: ${this.data.problem}`];
  }

  private get read(): BtfData {
    if (!this.data.ready) atOnce(this.data.prepare());
    return this.data;
  }

  /** Number of types, without void. */
  get count(): number {
    return this.read.count;
  }

  findType(name: string, keyword?: string): Type | undefined {
    const kinds = keyword === undefined ? ANY_TYPE : (KEYWORDS.get(keyword) ?? []);
    const found = this.read.named(name).filter(({ value, kind }) => value < 0 && kinds.includes(kind));
    // What is only declared counts last.
    found.sort((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind));
    for (const { id } of found) {
      const type = this.at(id);
      if (keyword === undefined || type.kind !== 'struct' || type.keyword === keyword) return type;
    }
    return undefined;
  }

  findEnumerator(name: string): bigint | undefined {
    for (const { id, value } of this.read.named(name)) {
      const type = value < 0 ? undefined : this.data.type(id);
      if (type) return this.enumeratorAt(type, value).value;
    }
    return undefined;
  }

  functionPrototype(name: string): FunctionPrototype | undefined {
    const ids = new Set<number>();
    for (const { id, kind, value } of this.read.named(name)) {
      if (value < 0 && kind === Kind.function) ids.add(this.data.type(id)!.sizeOrType);
    }
    const [id] = ids;
    // Static functions of several files may share a name.
    const raw = ids.size === 1 ? this.data.type(id!) : undefined;
    return raw?.kind === Kind.prototype ? this.prototype(raw) : undefined;
  }

  private prototype(raw: RawType): FunctionPrototype {
    const parameters: FunctionPrototype['parameters'] = [];
    let variadic = false;
    for (let i = 0; i < raw.count; i++) {
      const name = this.word(raw, i * 8);
      const type = this.word(raw, i * 8 + 4);
      // An ellipsis is a last parameter without name and type.
      if (name === 0 && type === 0 && i === raw.count - 1) variadic = true;
      else parameters.push({ name: this.data.string(name), type: this.at(type) });
    }
    return { result: this.at(raw.sizeOrType), parameters, variadic };
  }

  private word(raw: RawType, offset: number): number {
    return this.data.view.getUint32(raw.extra + offset, true);
  }

  /** The type of an id; void for 0, for what is no type, and for ids that are not there. */
  at(id: number): Type {
    let type = this.cache.get(id);
    if (!type) {
      const raw = this.read.type(id);
      type = raw ? this.make(raw) : voidType;
      this.cache.set(id, type);
    }
    return type;
  }

  private make(raw: RawType): Type {
    const { kind, name, sizeOrType } = raw;
    const target = once(() => this.at(sizeOrType));
    switch (kind) {
      case Kind.int:
        return { kind: 'base', name, size: sizeOrType, encoding: this.encoding(raw) };
      case Kind.float:
        return { kind: 'base', name, size: sizeOrType, encoding: Encoding.float };
      case Kind.pointer:
        return named({ kind: 'pointer', symbol: '*', name: '', size: POINTER_BYTES, target }, (type) =>
          declare(type, ''),
        );
      case Kind.array: {
        const element = once(() => this.at(this.word(raw, 0)));
        const count = this.word(raw, 8);
        const array: Type = { kind: 'array', name: '', size: undefined, element, count };
        return sized(
          named(array, (type) => declare(type, '')),
          () => {
            const size = element().size;
            return size === undefined ? undefined : size * count;
          },
        );
      }
      case Kind.struct:
        return this.aggregate(raw, 'struct');
      case Kind.union:
        return this.aggregate(raw, 'union');
      case Kind.forward:
        return this.declared(name, raw.flag ? 'union' : 'struct');
      case Kind.enum:
      case Kind.enum64:
        return this.enumeration(raw);
      case Kind.typedef:
        return sized({ kind: 'typedef', name, size: undefined, target }, () => target().size);
      case Kind.volatile:
        return this.qualified('volatile', target);
      case Kind.const:
        return this.qualified('const', target);
      case Kind.restrict:
        return this.qualified('restrict', target);
      case Kind.typeTag: {
        // A note for checkers: the type is the one that it is about. Without an end, it is none.
        const tagged = this.withoutTags(raw);
        return tagged === undefined ? voidType : this.at(tagged);
      }
      case Kind.prototype: {
        const parameters = once(() => this.prototype(raw).parameters.map(({ type }) => type));
        const last = raw.count > 0 ? (raw.count - 1) * 8 : -1;
        const variadic = last >= 0 && this.word(raw, last) === 0 && this.word(raw, last + 4) === 0;
        return named({ kind: 'function', name: '', size: undefined, result: target, parameters, variadic }, (type) =>
          declare(type, ''),
        );
      }
      default:
        return voidType;
    }
  }

  private withoutTags(raw: RawType): number | undefined {
    let current: RawType | undefined = raw;
    for (let i = 0; i < 16 && current?.kind === Kind.typeTag; i++) {
      const id: number = current.sizeOrType;
      current = this.data.type(id);
      if (current?.kind !== Kind.typeTag) return id;
    }
    return undefined;
  }

  /** BTF has an encoding of characters that hardly any producer uses: their names tell them. */
  private encoding(raw: RawType): number {
    const bits = (this.word(raw, 0) >>> 24) & 0x0f;
    if (bits & BOOL) return Encoding.boolean;
    const signed = (bits & SIGNED) !== 0;
    const isCharacter = raw.sizeOrType === 1 && ((bits & CHAR) !== 0 || /\bchar\b/.test(raw.name));
    if (isCharacter) return signed || raw.name === 'char' ? Encoding.signedChar : Encoding.unsignedChar;
    return signed ? Encoding.signed : Encoding.unsigned;
  }

  private qualified(qualifier: string, target: () => Type): Type {
    const type: Type = { kind: 'qualified', qualifier, name: '', size: undefined, target };
    return sized(
      named(type, (self) => declare(self, '')),
      () => target().size,
    );
  }

  private aggregate(raw: RawType, keyword: 'struct' | 'union'): Type {
    const members = once(() => {
      const list: Member[] = [];
      for (let i = 0; i < raw.count; i++) list.push(this.member(raw, i));
      return list;
    });
    return { kind: 'struct', keyword, name: `${keyword} ${raw.name || '{...}'}`, size: raw.sizeOrType, members };
  }

  private member(raw: RawType, index: number): Member {
    const name = this.data.string(this.word(raw, index * 12));
    const typeId = this.word(raw, index * 12 + 4);
    const place = this.word(raw, index * 12 + 8);
    const type = this.at(typeId);
    let bit = place;
    let bitSize = 0;
    if (raw.flag) {
      bit = place & 0xffffff;
      bitSize = place >>> 24;
    } else {
      // Without the flag, the integer type says which of its bits are the field.
      const integer = this.data.type(typeId);
      if (integer?.kind === Kind.int) {
        const bits = this.word(integer, 0);
        if ((bits & 0xff) !== integer.sizeOrType * 8) bitSize = bits & 0xff;
        bit += (bits >>> 16) & 0xff;
      }
    }
    const offset = Math.floor(bit / 8);
    return bitSize === 0 ? { name, type, offset } : { name, type, offset, bitOffset: bit - offset * 8, bitSize };
  }

  /** A struct or union that this data may define elsewhere. */
  private declared(name: string, keyword: 'struct' | 'union'): Type {
    const kind = keyword === 'struct' ? Kind.struct : Kind.union;
    const definition = once(() => this.data.named(name).find((each) => each.value < 0 && each.kind === kind));
    const complete = (): Type | undefined => {
      const found = definition();
      return found && this.at(found.id);
    };
    const members = (): Member[] => {
      const type = complete();
      return type?.kind === 'struct' ? type.members() : [];
    };
    const type: Type = { kind: 'struct', keyword, name: `${keyword} ${name || '{...}'}`, size: undefined, members };
    return sized(type, () => complete()?.size);
  }

  private enumeration(raw: RawType): Type {
    const enumerators = once(() => {
      const list: Enumerator[] = [];
      for (let i = 0; i < raw.count; i++) list.push(this.enumeratorAt(raw, i));
      return list;
    });
    return {
      kind: 'enum',
      name: `enum ${raw.name || '{...}'}`,
      size: raw.sizeOrType,
      signed: raw.flag,
      enumerators,
    };
  }

  private enumeratorAt(raw: RawType, index: number): Enumerator {
    const wide = raw.kind === Kind.enum64;
    const at = index * (wide ? 12 : 8);
    const bits = wide ? 64 : 32;
    const low = BigInt(this.word(raw, at + 4));
    const value = wide ? (BigInt(this.word(raw, at + 8)) << 32n) | low : low;
    return {
      name: this.data.string(this.word(raw, at)),
      value: raw.flag ? BigInt.asIntN(bits, value) : value,
    };
  }
}
