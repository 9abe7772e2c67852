import assert from 'node:assert/strict';
import { guest, hex, refusal, withAdapter } from './adapter';

// Line numbers are those of samples/hello-guest/main.c.
const AFTER_PAGING_INIT = 300;
const CALL_RECURSE = 306;
const FACTORIAL = 259;
const TOTAL = 252;

describe('breakpoints over stdio', () => {
  it('source lines, set before launch is done, hit in order; then the guest ends', () =>
    withAdapter(async (a) => {
      await a.begin({}, async () => {
        const set = await a.breakAt('main.c', AFTER_PAGING_INIT, CALL_RECURSE, 311);
        assert.deepEqual(
          set.map(({ verified, line }) => ({ verified, line })),
          [AFTER_PAGING_INIT, CALL_RECURSE, 311].map((line) => ({ verified: true, line })),
        );
      });
      for (const line of [AFTER_PAGING_INIT, CALL_RECURSE, 311]) {
        const stop = await a.go();
        assert.equal(stop.reason, 'breakpoint');
        assert.equal(stop.hitBreakpointIds?.length, 1);
        assert.deepEqual(await a.stack(), [`kernel_main:${line}`, 'long_mode:133']);
      }
      assert.equal(await a.finish(), 0);
      assert.match(a.console, /^hello-guest: in 64-bit mode\n[^]*\nhello-guest: done\n$/);
    }));

  it('conditions over locals, hit counts, and a line that has no code', () =>
    withAdapter(async (a) => {
      await a.begin({ stopOnEntry: false }, async () => {
        const [one, none] = await a.breakAt('main.c', { line: FACTORIAL, condition: 'n == 5' }, 5000);
        assert.equal(one.verified, true);
        assert.equal(none.verified, false);
        assert.match(none.message ?? '', /line 5000/);
      });
      assert.equal(await a.evaluate('n'), '5');
      assert.deepEqual(await a.stack(), [
        'factorial:259',
        ...Array<string>(5).fill('factorial:261'),
        'recurse:267',
        'kernel_main:306',
        'long_mode:133',
      ]);
      assert.equal(await a.evaluate('n', 3), '8');
      await a.breakAt('main.c', { line: TOTAL, hitCondition: '2' });
      await a.go();
      assert.equal(await a.evaluate('sum'), '68');
      assert.equal(await a.evaluate('total'), '43');
      const [broken] = await a.breakAt('main.c', { line: TOTAL, condition: 'no_such_name == 1' });
      assert.equal(broken.verified, false);
      assert.match(broken.message ?? '', /no_such_name/);
      await a.breakAt('main.c', { line: TOTAL, condition: 'sum < 0 && task->kernel' });
      await a.go();
      assert.equal(await a.evaluate('task->name'), '"idle"');
      await a.breakAt('main.c');
      assert.equal(await a.finish(), 0);
    }));

  it('log points print expressions and do not stop', () =>
    withAdapter(async (a) => {
      await a.configure({ stopOnEntry: false }, () =>
        a.breakAt(
          'main.c',
          { line: FACTORIAL, logMessage: 'n is {n} at {$rip}' },
          { line: TOTAL, logMessage: 'it is {task->state}', condition: 'sum > 50' },
        ),
      );
      assert.equal(await a.end(() => a.configurationDoneRequest()), 0);
      const lines = a.output('console').split('\n');
      assert.deepEqual(
        lines.filter((line) => line.startsWith('n is')).map((line) => /n is (\d+) at 0x[0-9a-f]+/.exec(line)?.[1]),
        ['10', '9', '8', '7', '6', '5', '4', '3', '2', '1'],
      );
      assert.equal(lines.filter((line) => line === 'it is TASK_RUNNING').length, 1);
    }));

  it('function breakpoints stop behind the prologue; unknown functions are refused', () =>
    withAdapter(async (a) => {
      await a.begin({}, async () => {
        const [known, unknown] = await a.breakIn('sum_samples', 'sum_sample');
        assert.equal(known.verified, true);
        assert.equal(unknown.verified, false);
        assert.match(unknown.message ?? '', /did you mean sum_samples/);
      });
      assert.equal((await a.go()).reason, 'function breakpoint');
      assert.equal(await a.evaluate('task->name'), '"init"');
      await a.breakIn(
        { name: 'timer_tick', hitCondition: '3' },
        { name: 'sum_samples', condition: 'task->kernel == 1' },
      );
      await a.go();
      assert.equal(await a.evaluate('task->name'), '"idle"');
      await a.go();
      assert.equal(await a.evaluate('ticks'), '2');
      assert.equal((await a.frames())[0].name, 'timer_tick');
    }));

  it('instruction breakpoints with conditions', () =>
    withAdapter(async (a) => {
      await a.begin();
      const entry = await a.number('(unsigned long)&factorial');
      await a.breakOn({ instructionReference: hex(entry), condition: '$edi == 7' });
      const stop = await a.go();
      assert.equal(stop.reason, 'instruction breakpoint');
      assert.equal(await a.number('$rip'), entry);
      assert.equal(await a.number('$edi'), 7n);
      await a.breakOn({ instructionReference: hex(entry), offset: 4 });
      await a.go();
      assert.equal(await a.number('$rip'), entry + 4n);
      const [refused] = await a.breakOn({ instructionReference: 'phys:0x1000' });
      assert.equal(refused.verified, false);
      assert.match(refused.message ?? '', /virtual/);
    }));

  it('data breakpoints: a symbol written, and read; a physical range', () =>
    withAdapter(async (a) => {
      await a.begin();
      const info = await a.request('dataBreakpointInfo', { name: 'recovered.last_vector' });
      assert.match(info.description, /8 bytes/);
      assert.deepEqual(info.accessTypes, ['read', 'write', 'readWrite']);
      await a.watch({ dataId: info.dataId, accessType: 'write' });
      let stop = await a.go();
      assert.equal(stop.reason, 'data breakpoint');
      assert.match(stop.text ?? '', /^write of 8 bytes at 0x10c008$/);
      assert.equal(await a.evaluate('recovered.last_vector'), '14');
      assert.equal((await a.frames())[0].name, 'handle_exception');

      const address = await a.request('dataBreakpointInfo', {
        name: '&recovered.last_address',
        asAddress: true,
        bytes: 8,
      });
      await a.watch({ dataId: address.dataId, accessType: 'read' });
      stop = await a.go();
      assert.match(stop.text ?? '', /^read of 8 bytes at 0x10c010$/);
      assert.equal((await a.frames())[0].name, 'use_page_tables');

      // tasks[1].samples[2], by its physical address: memory is identity-mapped.
      const sample = await a.number('(unsigned long)&tasks[1].samples[2]');
      await a.watch({ dataId: `phys:${hex(sample)}/4`, accessType: 'readWrite' });
      stop = await a.go();
      assert.match(stop.text ?? '', /^read of 4 bytes/);
      assert.equal((await a.frames())[0].name, 'sum_samples');
      assert.equal(await a.evaluate('i'), '2');
      await a.watch({ dataId: `phys:${hex(sample)}/4`, accessType: 'write' });
      assert.equal(await a.finish(), 0);
    }));

  it('a data breakpoint on one address sees the write through another mapping', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', AFTER_PAGING_INIT));
      await a.go();
      // The loader's page is mapped at notice_page and, read-only, at NOTICE_ALIAS.
      const page = await a.number('(unsigned long)&notice_page');
      await a.watch({ dataId: `phys:${hex(page)}/1`, accessType: 'read' });
      const stop = await a.go();
      assert.equal(stop.reason, 'data breakpoint');
      assert.equal((await a.frames())[0].name, 'print');
    }));

  it('a data breakpoint with a condition over the value, and a hit count', () =>
    withAdapter(async (a) => {
      await a.begin();
      const { dataId } = await a.request('dataBreakpointInfo', { name: 'ticks' });
      await a.watch({ dataId, accessType: 'write', condition: 'ticks == 4' });
      await a.go();
      assert.equal(await a.evaluate('ticks'), '4');
      await a.watch({ dataId, accessType: 'write', hitCondition: '2' });
      await a.go();
      assert.equal(await a.evaluate('ticks'), '6');
    }));

  it('a breakpoint set while the guest runs stops it', () =>
    withAdapter(async (a) => {
      await a.configure({ kernel: guest('spin'), boot: 'multiboot', stopOnEntry: false });
      const output = a.event('output', (event) => event.body.category === 'stdout');
      await a.configurationDoneRequest();
      await output;
      assert.match(await refusal(a.stackTraceRequest({ threadId: 1 })), /running/);
      const pause = await a.stop_(() => a.pauseRequest({ threadId: 1 }));
      assert.equal(pause.reason, 'pause');
      const rip = await a.number('$rip');
      await a.continueRequest({ threadId: 1 });
      const stop = await a.stop_(() => a.breakOn(rip));
      assert.equal(stop.reason, 'instruction breakpoint');
      assert.equal(await a.number('$rip'), rip);
    }));
});
