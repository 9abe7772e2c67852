import assert from 'node:assert/strict';
import { guest, refusal, withAdapter, type Adapter } from './adapter';

/** Runs to a place of hello-guest. */
async function to(a: Adapter, file: string, line: number): Promise<void> {
  await a.breakAt(file, line);
  const stop = await a.go();
  assert.equal(stop.reason, 'breakpoint');
  await a.breakAt(file);
  assert.equal(await a.line(), line);
}

describe('stepping over stdio', () => {
  it('by statement: over, in, out', () =>
    withAdapter(async (a) => {
      await a.begin();
      await to(a, 'main.c', 305);
      assert.equal((await a.next()).reason, 'step');
      assert.deepEqual(await a.stack(), ['kernel_main:306', 'long_mode:133']);
      await a.into();
      assert.deepEqual((await a.stack()).slice(0, 2), ['recurse:266', 'kernel_main:306']);
      await a.next();
      assert.equal(await a.line(), 267);
      await a.into();
      assert.deepEqual((await a.stack()).slice(0, 2), ['factorial:259', 'recurse:267']);
      assert.equal(await a.evaluate('n'), '10');
      await a.next();
      assert.equal(await a.line(), 261);
      // Over a recursive call: this frame's line, not a deeper one's.
      await a.next();
      assert.equal(await a.line(), 262);
      assert.equal(await a.evaluate('n'), '10');
      await a.out();
      assert.equal((await a.frames())[0].name, 'recurse');
      await a.next();
      assert.equal(await a.line(), 268);
      assert.equal(await a.evaluate('result'), '3628800');
      await a.next();
      await a.next();
      assert.deepEqual(await a.stack(), ['kernel_main:307', 'long_mode:133']);
    }));

  it('out of the depths of the recursion, one frame each', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', { line: 260 }));
      await a.go();
      await a.breakAt('main.c');
      assert.equal((await a.frames()).length, 13);
      for (let n = 2; n <= 4; n++) {
        assert.equal((await a.out()).reason, 'step');
        assert.equal(await a.evaluate('n'), String(n));
        assert.equal((await a.frames()).length, 14 - n);
      }
    }));

  it('a breakpoint inside what is stepped over stops there', () =>
    withAdapter(async (a) => {
      await a.begin();
      await to(a, 'main.c', 306);
      await a.breakAt('main.c', { line: 259, condition: 'n == 3' });
      assert.equal((await a.next()).reason, 'breakpoint');
      assert.equal(await a.evaluate('n'), '3');
    }));

  it('by instruction: one each, calls over or into', () =>
    withAdapter(async (a) => {
      await a.begin();
      const first = await a.icount();
      const rip = await a.number('$rip');
      for (let i = 1; i <= 20; i++) {
        assert.equal((await a.into('instruction')).reason, 'step');
        assert.equal(await a.icount(), first + i);
      }
      assert.notEqual(await a.number('$rip'), rip);
      await to(a, 'main.c', 306);
      const at = await a.number('$rip');
      // mov $0, %eax may come first: steps until the call.
      while (!/call/.test(await a.repl('x/1i $rip'))) await a.into('instruction');
      const call = await a.number('$rip');
      await a.into('instruction');
      assert.equal((await a.frames())[0].name, 'recurse');
      await a.back('instruction');
      assert.equal(await a.number('$rip'), call);
      await a.next('instruction');
      assert.equal(await a.number('$rip'), call + 5n);
      assert.ok(at <= call);
    }));

  it('over a whole REP, even where a data breakpoint lies inside it', () =>
    withAdapter(async (a) => {
      await a.begin();
      await a.breakOn(0x1006e5n); // rep stosq of show_processor's `brand = { 0 }`
      await a.go();
      const at = await a.number('$rip');
      assert.match(await a.repl('x/1i $rip'), /rep stosq/);
      const count = await a.number('$rcx');
      assert.ok(count > 1n);
      const start = await a.number('$rdi');
      await a.breakOn();
      const before = await a.icount();
      await a.into('instruction');
      assert.equal(await a.number('$rip'), at + 3n);
      assert.equal(await a.number('$rcx'), 0n);
      assert.equal(await a.number('$rdi'), start + 8n * count);
      const after = await a.icount();
      await a.back('instruction');
      assert.equal(await a.number('$rip'), at);
      assert.equal(await a.number('$rcx'), count);
      assert.equal(await a.icount(), before);
      await a.watch({ dataId: `0x${(start + 16n).toString(16)}/1`, accessType: 'write' });
      const stop = await a.into('instruction');
      assert.equal(stop.reason, 'data breakpoint');
      assert.equal(await a.number('$rdi'), start + 24n);
      await a.into('instruction');
      assert.equal(await a.number('$rip'), at + 3n);
      assert.equal(await a.icount(), after);
    }));

  it('over a HLT that a timer interrupt ends: the handler does not swallow the step', () =>
    withAdapter(async (a) => {
      await a.begin();
      await a.breakIn('timer_wait');
      await a.go();
      await a.breakIn();
      while (!/hlt/.test(await a.repl('x/1i $rip'))) await a.into('instruction');
      const hlt = await a.number('$rip');
      assert.equal(await a.evaluate('ticks'), '0');
      assert.equal((await a.into('instruction')).reason, 'step');
      assert.equal(await a.number('$rip'), hlt + 1n);
      await a.into('instruction');
      assert.notEqual((await a.frames())[0].name, 'interrupt_common');
      assert.equal(await a.evaluate('ticks'), '1');
    }));

  it('statements through HLT and interrupts stay in the function', () =>
    withAdapter(async (a) => {
      await a.begin();
      await a.breakIn('timer_wait');
      await a.go();
      await a.breakIn();
      const names = new Set<string>();
      for (let i = 0; i < 12; i++) {
        await a.next();
        const [{ name, line }] = await a.frames();
        names.add(name);
        if (name === 'sleep_a_while' && line === 278) break;
      }
      assert.deepEqual([...names], ['timer_wait', 'sleep_a_while']);
      assert.equal(await a.evaluate('ticks'), '2');
    }));

  it('the stack inside an interrupt handler leads through the interrupt, with line and registers of what it interrupted', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakIn('timer_tick'));
      await a.go();
      const names = (await a.frames()).map(({ name }) => name.replace(' [inlined]', ''));
      assert.deepEqual(names, [
        'timer_tick',
        'handle_interrupt',
        'interrupt_common',
        'wait_for_interrupt',
        'timer_wait',
        'sleep_a_while',
        'kernel_main',
        'long_mode',
      ]);
      assert.equal(await a.evaluate('count', 4), '2');
      assert.equal((await a.scope('Registers', 3)).rip.split(' ')[0], '0x0000000000101db7');
      await a.out();
      assert.equal((await a.frames())[0].name, 'handle_interrupt');
    }));

  it('out of the outermost frame is refused', () =>
    withAdapter(async (a) => {
      await a.begin();
      assert.match(await refusal(a.stepOutRequest({ threadId: 1 })), /outermost/);
      assert.match(await refusal(a.nextRequest({ threadId: 9 })), /thread 9/);
    }));

  it('in real mode, through BIOS calls', () =>
    withAdapter(async (a) => {
      await a.begin({ kernel: guest('realMode'), boot: 'bios' });
      assert.equal(await a.number('$rip'), 0x7c00n);
      const seen = new Set<bigint>();
      for (let i = 0; i < 30; i++) {
        assert.equal((await a.next('instruction')).reason, 'step');
        seen.add(await a.number('$rip'));
      }
      assert.ok(seen.size > 5);
    }));
});
