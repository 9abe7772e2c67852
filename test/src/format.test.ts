import assert from 'node:assert';
import { addressRange, byteSize, count, hex, parseAddress, share } from '../../src/format';

describe('format', () => {
  it('prints hex, sizes and counts', () => {
    assert.equal(hex(0x10n, 4), '0x0010');
    assert.deepEqual([4096n, 2097152n, 1n << 30n, 512n << 30n, 4097n, 0n].map(byteSize), [
      '4K',
      '2M',
      '1G',
      '512G',
      '4097',
      '0',
    ]);
    assert.deepEqual([0, 999, 1000, 1234567].map(count), ['0', '999', '1,000', '1,234,567']);
  });

  it('prints shares without a false zero', () => {
    assert.deepEqual(
      [share(1, 3), share(1, 100_000), share(0, 5), share(5, 100), share(0, 0)],
      ['33%', '<0.1%', '0%', '5.0%', '0%'],
    );
  });

  it('repeats only the digits of a range that differ', () => {
    assert.equal(addressRange(0x200000n, 0x3fffffn), '0x00200000–3fffff');
    assert.equal(addressRange(0xffffffff80000000n, 0xffffffff801fffffn), '0xffffffff80000000–1fffff');
    assert.equal(addressRange(0n, (1n << 48n) - 1n), '0x000000000000–ffffffffffff');
    assert.equal(addressRange(5n, 5n), '0x00000005–5');
  });

  it('reads addresses as people write them', () => {
    assert.equal(parseAddress(' 0xFFFF8000`00001000 '), 0xffff800000001000n);
    assert.equal(parseAddress('fee000b0h'), 0xfee000b0n);
    assert.equal(parseAddress('1_0000'), 0x10000n);
    for (const bad of ['', '0x', '-1', 'xyz', '0x11112222333344445']) assert.equal(parseAddress(bad), undefined, bad);
  });
});
