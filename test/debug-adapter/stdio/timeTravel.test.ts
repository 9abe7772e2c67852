import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { guest, refusal, withAdapter, type Adapter } from './adapter';

/** What can be seen of the machine: where it is, its registers, its devices, and the memory that the guest uses. */
async function state(a: Adapter): Promise<string> {
  const registers = [];
  for (const scope of ['Registers', 'Segments', 'Control', 'MSRs']) registers.push(await a.scope(scope));
  const memory = createHash('sha256')
    .update(await a.memory('phys:0x100000', 0x20000))
    .digest('hex');
  return JSON.stringify(
    { icount: await a.icount(), registers, memory, devices: await a.repl('info devices') },
    null,
    1,
  );
}

describe('time travel over stdio', () => {
  it('stepBack by instruction undoes one step each: registers, memory, devices', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', 306));
      await a.go();
      await a.breakAt('main.c');
      const states: string[] = [];
      for (let i = 0; i < 6; i++) {
        states.push(await state(a));
        await a.into('instruction');
      }
      for (const each of states.reverse()) {
        assert.equal((await a.back('instruction')).reason, 'step');
        assert.equal(await state(a), each);
      }
    }));

  it('stepBack by statement: to the start of the one before, over calls, and out to the caller', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', 268));
      await a.go();
      await a.breakAt('main.c');
      const start = await a.icount();
      assert.deepEqual((await a.stack()).slice(0, 2), ['recurse:268', 'kernel_main:306']);
      assert.equal((await a.back()).reason, 'step');
      assert.equal(await a.line(), 267);
      await a.back();
      assert.equal(await a.line(), 266);
      await a.back();
      assert.match((await a.stack())[0], /^(recurse:265|kernel_main:306)$/);
      while ((await a.frames())[0].name !== 'kernel_main') await a.back();
      assert.equal(await a.line(), 306);
      await a.back();
      assert.deepEqual(await a.stack(), ['kernel_main:305', 'long_mode:133']);
      await a.goto(start);
      assert.deepEqual((await a.stack()).slice(0, 2), ['recurse:268', 'kernel_main:306']);
    }));

  it('stepBack in the middle of a statement goes to its start', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', 267));
      await a.go();
      const at = await state(a);
      await a.breakAt('main.c');
      while ((await a.frames())[0].name !== 'factorial') await a.into('instruction');
      await a.out();
      assert.deepEqual((await a.stack())[0], 'recurse:267');
      await a.back();
      assert.equal(await state(a), at);
    }));

  it('reverseContinue to the breakpoint before, to a data write, to an exit, to the start; then forward the same', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', 301, 309));
      await a.go();
      const first = await state(a);
      await a.go();
      const second = await state(a);
      const before = a.console;

      let stop = await a.reverse();
      assert.equal(stop.reason, 'breakpoint');
      assert.equal(await a.line(), 301);
      assert.equal(await state(a), first);

      stop = await a.go();
      assert.equal(stop.reason, 'breakpoint');
      assert.equal(await state(a), second);
      await a.breakAt('main.c');

      const { dataId } = await a.request('dataBreakpointInfo', { name: 'ticks' });
      await a.watch({ dataId, accessType: 'write' });
      for (const ticks of ['6', '5', '4']) {
        stop = await a.reverse();
        assert.equal(stop.reason, 'data breakpoint');
        assert.equal(await a.evaluate('ticks'), ticks);
      }
      // Forward again from between two hits.
      stop = await a.go();
      assert.equal(stop.reason, 'data breakpoint');
      assert.equal(await a.evaluate('ticks'), '5');
      await a.watch();

      await a.filters('VMCALL', 'MSR_WRITE if msr == IA32_LSTAR');
      stop = await a.reverse();
      assert.equal(stop.reason, 'exception');
      assert.equal(stop.text, 'VMCALL');
      assert.equal((await a.frames())[0].name, 'hypercall');
      assert.match((await a.scope('Last VM exit')).Exit, /^VMCALL/);
      stop = await a.reverse();
      assert.equal(stop.text, 'MSR_WRITE');
      stop = await a.go();
      assert.equal(stop.text, 'VMCALL');
      await a.filters();

      stop = await a.reverse();
      assert.equal(stop.reason, 'entry');
      assert.match(stop.text ?? '', /start of recorded history/i);
      assert.equal(await a.icount(), 0);
      assert.equal((await a.frames())[0].name, 'multiboot_start');
      stop = await a.back('instruction');
      assert.equal(stop.reason, 'entry');

      await a.breakAt('main.c', 309);
      await a.go();
      assert.equal(await state(a), second);
      assert.equal(a.console, before, 'replaying prints nothing twice');
      await a.breakAt('main.c');
      assert.equal(await a.finish(), 0);
      assert.equal(a.console.match(/hello-guest: done/g)?.length, 1);
    }));

  it('conditions and hit counts hold going back; log points are silent then', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', 307));
      await a.go();
      await a.breakAt('main.c', { line: 259, condition: 'n == 4' }, { line: 266, logMessage: 'at recurse' });
      const stop = await a.reverse();
      assert.equal(stop.reason, 'breakpoint');
      assert.equal(await a.evaluate('n'), '4');
      assert.equal((await a.reverse()).reason, 'entry');
      assert.doesNotMatch(a.output('console'), /at recurse/);
    }));

  it('goto icount, there and back', () =>
    withAdapter(async (a) => {
      await a.begin();
      let stop = await a.goto(5000);
      assert.equal(stop.reason, 'goto');
      assert.equal(await a.icount(), 5000);
      const there = await state(a);
      await a.goto(90_000);
      assert.equal(await a.icount(), 90_000);
      await a.goto(5000);
      assert.equal(await state(a), there);
      stop = await a.goto(0);
      assert.equal(await a.icount(), 0);
      assert.match(await refusal(a.repl('goto icount -5')), /icount/);
    }));

  it('a change in the past makes a new future', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', 268));
      await a.go();
      assert.equal(await a.evaluate('result'), '3628800');
      await a.breakAt('main.c');
      await a.breakIn({ name: 'factorial', condition: 'n == 4' });
      await a.reverse();
      await a.breakIn();
      assert.equal(await a.evaluate('n'), '4');
      await a.evaluateRequest({ expression: 'n = 1', context: 'repl', frameId: (await a.frames())[0].id });
      await a.finish();
      assert.match(a.console, /^recursion: 10! = 151200$/m);
    }));

  it('over changes that the debugger made, in memory and registers', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', 248, 307));
      await a.go();
      const start = await a.icount();
      await a.repl('tasks[0].samples[0] = 100');
      await a.repl('$r15 = 0x1234');
      await a.into('instruction');
      await a.into('instruction');
      assert.equal(await a.evaluate('tasks[0].samples[0]'), '100');
      await a.back('instruction');
      assert.equal(await a.evaluate('tasks[0].samples[0]'), '100');
      assert.equal(await a.number('$r15'), 0x1234n);
      await a.goto(start - 10);
      assert.equal(await a.evaluate('tasks[0].samples[0]'), '4');
      assert.equal(await a.number('$r15'), 0n);
      await a.goto(start + 5);
      assert.equal(await a.evaluate('tasks[0].samples[0]'), '100');
      assert.equal(await a.number('$r15'), 0x1234n);
      await a.breakAt('main.c');
      await a.finish();
      assert.match(a.console, /^task: init .* samples add up to 139$/m);
    }));

  it('without a record there is no way back, and it says why', () =>
    withAdapter(async (a) => {
      await a.begin({ record: false });
      assert.match(await refusal(a.stepBackRequest({ threadId: 1 })), /"record": true/);
      assert.match(await refusal(a.reverseContinueRequest({ threadId: 1 })), /"record": true/);
      await a.into('instruction');
      assert.equal(await a.icount(), 1);
    }));

  it('from where the guest died', () =>
    withAdapter(async (a) => {
      await a.begin({ kernel: guest('tripleFault'), boot: 'multiboot' }, () => a.filters('TRIPLE_FAULT'));
      const stop = await a.go();
      assert.equal(stop.text, 'TRIPLE_FAULT');
      await a.back('instruction');
      assert.match(await a.repl('x/1i $rip'), /ud2|lidt/);
    }));
});

describe('determinism over stdio', () => {
  it('two runs, and one with stops and steps back in between, end at the same instruction with the same output', async () => {
    const runs: { console: string; end: string }[] = [];
    for (const disturbed of [false, false, true]) {
      await withAdapter(async (a) => {
        await a.begin();
        if (disturbed) {
          await a.breakAt('main.c', 302, 308);
          for (let i = 0; i < 2; i++) {
            await a.go();
            const icount = await a.icount();
            await a.goto(icount - 1000);
            await a.into('instruction');
            await a.back('instruction');
          }
          await a.breakAt('main.c');
        }
        assert.equal(await a.finish(), 0);
        runs.push({ console: a.console, end: /after (\d+) instructions/.exec(a.output('console'))?.[1] ?? 'not said' });
      });
    }
    assert.deepEqual(runs[1], runs[0]);
    assert.deepEqual(runs[2], runs[0]);
    assert.match(runs[0].end, /^\d+$/);
  });
});
