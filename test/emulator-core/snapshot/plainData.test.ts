import assert from 'node:assert/strict';
import { decodePlain, encodePlain } from '../../../emulator-core/snapshot/plainData';
import { misfit, shapeOf } from '../../../emulator-core/snapshot/shape';
import { SnapshotError } from '../../../emulator-core/snapshot/snapshotError';

const where = { name: "'f'", offset: 0x100 };
const again = (value: unknown): unknown => decodePlain(encodePlain(value), where);

describe('plain data as bytes', () => {
  it('comes back as it was', () => {
    for (const value of [
      ...[undefined, null, true, false, 0, 1, -1, 2 ** 31 - 1, -(2 ** 31), 2 ** 31, 2 ** 53, 0.5, -0, Infinity, NaN],
      ...[0n, 1n, 2n ** 64n - 1n, 2n ** 64n, -1n, -(2n ** 64n), 2n ** 127n - 1n, '', 'text', 'ä€𝄞'],
      ...[[], [1, [2, [undefined]]], {}, { a: { b: undefined }, 'c d': [null] }],
      ...[Uint8Array.of(1, 2), Uint32Array.of(2 ** 32 - 1), BigUint64Array.of(2n ** 63n), new Float64Array(0)],
      { big: new Uint8Array(100_000).fill(7), list: Array.from({ length: 50_000 }, (_, i) => i) },
    ]) {
      assert.deepEqual(again(value), value);
    }
  });

  it('has the bytes that the format says', () => {
    const bytes = encodePlain({ a: [1, 2n] });
    // object of 1 member; 'a'; list of 2; integer 1; bigint 2
    const hex = '09 01000000 01000000 61 08 02000000 05 01000000 06 0200000000000000';
    assert.equal(Buffer.from(bytes).toString('hex'), hex.replaceAll(' ', ''));
  });

  it('refuses what is no plain data', () => {
    for (const value of [new Map(), () => 1, new Date(0), { a: [Symbol('s')] }, 2n ** 127n]) {
      assert.throws(() => encodePlain(value), /the state/);
    }
  });

  it('rejects damaged bytes with the place and what was expected, and allocates no more than they hold', () => {
    const fails = (hex: string, message: RegExp): void =>
      assert.throws(
        () => decodePlain(Buffer.from(hex.replaceAll(' ', ''), 'hex'), where),
        (error: Error) => {
          assert.ok(error instanceof SnapshotError);
          assert.match(error.message, message);
          return true;
        },
      );
    fails('', /'f', offset 0x100: expected a value, the data ends/);
    fails('0c', /offset 0x100: expected the kind of a value, 0 to 11, got 12/);
    fails('04 00', /offset 0x101: expected a number, the data ends/);
    fails('00 00', /offset 0x101: 1 bytes more than expected/);
    fails('08 ffffffff', /4294967295 elements in 0 bytes/);
    fails('09 ffffffff 00', /4294967295 members in 1 bytes/);
    fails('0a 00 ffffffff', /expected 4294967295 bytes of an array/);
    fails('0a 09 00000000', /expected the type of an array, 0 to 8, got 9/);
    fails('0a 04 03000000 000000', /3 bytes are no whole Uint32Array/);
    fails('07 ffffffff', /expected 4294967295 bytes of text/);
    fails('09 02000000 01000000 61 00 01000000 61 00', /the member 'a' again/);
    fails('09 01000000 09000000 5f5f70726f746f5f5f 00', /the member '__proto__' again/);
    fails('08 01000000 '.repeat(40) + '00', /more than 32 deep/);
    fails(`08 20a10700 ${'00'.repeat(500_000)}`, /more than 500000 values/);
  });

  it('survives any damage', () => {
    const good = encodePlain({
      a: [1, 'x', { b: 2n, c: Uint16Array.of(1, 2, 3) }],
      d: null,
      e: [0.5, undefined, true],
    });
    let random = 1;
    const next = (): number => (random = (random * 48271) % 0x7fffffff);
    for (let i = 0; i < 5000; i++) {
      const bytes = good.slice(0, 1 + (next() % good.length));
      for (let n = next() % 4; n >= 0; n--) bytes[next() % bytes.length] = next();
      try {
        decodePlain(bytes, where);
      } catch (error) {
        assert.ok(error instanceof SnapshotError, String(error));
      }
    }
  });
});

describe('shapes', () => {
  const shape = shapeOf({
    n: 1,
    s: '',
    list: [1, 2],
    empty: [],
    bytes: new Uint8Array(4),
    absent: undefined,
    deep: { b: 1n },
  });
  const good = { n: 5, s: 'x', list: [3, 4], empty: [{ any: 1 }], bytes: new Uint8Array(4), deep: { b: 7n } };

  it('take the same members of the same types', () => {
    assert.equal(misfit(good, shape), undefined);
    assert.equal(misfit({ ...good, absent: [1, 'x'] }, shape), undefined);
  });

  it('take parts of nanoseconds for times only', () => {
    const times = shapeOf({ periodicAt: 0, events: [{ ns: 0 }], low: [0], optional: undefined });
    const value = { periodicAt: 3286132812.5, events: [{ ns: 0.25 }], low: [1], optional: { due: 1.5 } };
    assert.equal(misfit(value, times), undefined);
    assert.match(misfit({ ...value, low: [0.5] }, times)!, /^state\.low\[0\]: expected a whole number, got 0\.5$/);
    assert.match(misfit({ ...value, optional: { id: 1.5 } }, times)!, /^state\.optional\.id: expected a whole number/);
    assert.match(misfit({ ...value, periodicAt: Infinity }, times)!, /^state\.periodicAt: expected a finite number/);
  });

  it('say what does not fit', () => {
    const cases: [object, string][] = [
      [{ n: '5' }, 'state.n: expected a whole number, got a string'],
      [{ n: NaN }, 'state.n: expected a whole number, got NaN'],
      [{ list: [1] }, 'state.list: expected 2 elements, got a list of 1'],
      [{ list: [1, null] }, 'state.list[1]: expected a whole number, got null'],
      [{ bytes: new Uint8Array(5) }, 'state.bytes: expected 4 elements of Uint8Array, got 5 elements of Uint8Array'],
      [{ bytes: new Int8Array(4) }, 'state.bytes: expected 4 elements of Uint8Array, got 4 elements of Int8Array'],
      [{ deep: { b: 7 } }, 'state.deep.b: expected a bigint, got 7'],
      [{ deep: undefined }, 'state.deep: expected an object, got nothing'],
      [{ more: 1 }, 'state.more: there is no such member'],
      [{ empty: [Infinity] }, 'state.empty[0]: expected a whole number'],
    ];
    for (const [change, message] of cases) assert.equal(misfit({ ...good, ...change }, shape), message);
    assert.equal(misfit({ ...good, n: undefined, s: 1 }, shape), 'state.n: expected a whole number, got nothing');
    const { n, list, empty, bytes, deep } = good;
    assert.equal(misfit({ n, list, empty, bytes, deep }, shape), 'state.s: is missing');
  });
});
