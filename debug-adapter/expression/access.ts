/**
 * Where expressions get their values. One synchronous interface serves both ways of evaluating: a breakpoint's condition reads through
 * HitContext, and a watch through PendingAccess, which fetches what is missing and evaluates again.
 */
import type { AddressSpace, HitContext } from '../target';

export type Access = Pick<HitContext, 'register' | 'memory' | 'field' | 'icount'>;

/** Thrown by PendingAccess: the evaluation needs something that `fetch` gets. */
class Pending {
  constructor(readonly fetch: () => Promise<void>) {}
}

export interface AsyncSource {
  register(name: string): Promise<bigint>;
  /** Bytes up to the first unreadable one. */
  read(space: AddressSpace, address: bigint, length: number): Promise<Uint8Array>;
  field?(name: string): bigint | undefined;
  icount(): number;
}

/** More fetches than this are a runaway expression; each operand needs one. */
const MAX_FETCHES = 1000;

/** Remembers what was fetched, so that each value is asked for once in an evaluation. */
class PendingAccess implements Access {
  private readonly registers = new Map<string, bigint>();
  private readonly bytes = new Map<string, bigint | undefined>();

  constructor(private readonly source: AsyncSource) {}

  get icount(): number {
    return this.source.icount();
  }

  field(name: string): bigint | undefined {
    return this.source.field?.(name);
  }

  register(name: string): bigint {
    const known = this.registers.get(name);
    if (known !== undefined) return known;
    throw new Pending(async () => {
      this.registers.set(name, await this.source.register(name));
    });
  }

  memory(space: AddressSpace, address: bigint, size: number): bigint | undefined {
    const key = `${space} ${address} ${size}`;
    if (this.bytes.has(key)) return this.bytes.get(key);
    throw new Pending(async () => {
      const data = await this.source.read(space, address, size);
      this.bytes.set(key, data.length < size ? undefined : littleEndian(data.subarray(0, size)));
    });
  }
}

/** Unsigned number of little-endian bytes. */
export function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]);
  return value;
}

/** Runs a synchronous evaluation over an asynchronous source. Errors of the evaluation or the source pass through. */
export async function evaluateOver<T>(source: AsyncSource, evaluate: (access: Access) => T): Promise<T> {
  const access = new PendingAccess(source);
  for (let i = 0; i < MAX_FETCHES; i++) {
    try {
      return evaluate(access);
    } catch (error) {
      if (!(error instanceof Pending)) throw error;
      await error.fetch();
    }
  }
  throw new Error(`the expression reads more than ${MAX_FETCHES} different places`);
}
