/**
 * Pages that the guest told of by KVM_HC_MAP_GPA_RANGE: encrypted (private) or plaintext (shared with the host). A guest with encrypted
 * memory does so before the host may read a page; of others the answers have no effect, but they are kept and shown.
 * Source: Linux Documentation/virt/kvm/x86/hypercalls.rst, "KVM_HC_MAP_GPA_RANGE".
 */
import { PAGE } from '../../cpu/layout';
import { hex, type Field } from '../../fields';

/** Bits of the attributes: preferred page size (0 = 4 KiB, 1 = 2 MiB, 2 = 1 GiB), encrypted; the rest is reserved. */
const PAGE_SIZE_MASK = 0xfn;
const ENCRYPTED = 1n << 4n;
const ATTRIBUTES = PAGE_SIZE_MASK | ENCRYPTED;

const UNTOLD = 0;
const PLAINTEXT = 1;
const PRIVATE = 2;
const NAMES = ['', 'plaintext', 'encrypted'];
/** Ranges shown. */
const SHOWN = 64;

export class GpaRanges {
  /** By page of RAM; empty: the guest has told of none. */
  private pages = new Uint8Array(0);

  /** @param ramSize bytes of guest RAM, which begins at 0 */
  constructor(private readonly ramSize: number) {}

  /**
   * @param gpa of the first page
   * @param count of 4-KiB pages
   * @returns false: the range is no whole number of pages of RAM, or a reserved attribute is set
   */
  map(gpa: bigint, count: bigint, attributes: bigint): boolean {
    const end = gpa + count * BigInt(PAGE);
    if (gpa % BigInt(PAGE) !== 0n || count === 0n || end > BigInt(this.ramSize)) return false;
    if (attributes & ~ATTRIBUTES) return false;
    if (this.pages.length === 0) this.pages = new Uint8Array(this.ramSize / PAGE);
    const kind = attributes & ENCRYPTED ? PRIVATE : PLAINTEXT;
    this.pages.fill(kind, Number(gpa) / PAGE, Number(end) / PAGE);
    return true;
  }

  reset(): void {
    this.pages = new Uint8Array(0);
  }
  save(): Uint8Array {
    return this.pages.slice();
  }
  restore(saved: Uint8Array): void {
    this.pages = saved.slice();
  }

  describe(): Field {
    const children: Field[] = [];
    let ranges = 0;
    for (let from = 0, to = 0; from < this.pages.length; from = to) {
      const kind = this.pages[from];
      for (to = from + 1; to < this.pages.length && this.pages[to] === kind;) to++;
      if (kind === UNTOLD || ++ranges > SHOWN) continue;
      const value = `${hex(from * PAGE, 64)}-${hex(to * PAGE - 1, 64)}`;
      children.push({ name: NAMES[kind], value, text: `${to - from} pages` });
    }
    if (ranges > SHOWN) children.push({ name: 'more', value: String(ranges - SHOWN), text: 'ranges' });
    return { name: 'GPA ranges', value: String(ranges), text: 'told by KVM_HC_MAP_GPA_RANGE', children };
  }
}
