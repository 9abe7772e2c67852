import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { DebugProtocol } from '@vscode/debugprotocol';
import { connect, launch, type Fixture } from './client';
import { FIXTURE, SOURCE } from './fakeTarget';

const source = readFileSync(path.join(__dirname, 'fixtures', 'walk.c'), 'utf8').split('\n');
/** Line number of the first line that holds a text. */
function lineOf(text: string): number {
  const index = source.findIndex((line) => line.includes(text));
  assert.ok(index >= 0, text);
  return index + 1;
}

describe('the adapter over DAP, with a fake machine', () => {
  let fixture: Fixture;
  const dc = (): Fixture['client'] => fixture.client;

  beforeEach(async () => {
    fixture = await connect();
  });
  afterEach(() => fixture.close());

  /** Runs a request that ends in a stop, and returns that. */
  async function stopAfter(request: () => Promise<unknown>): Promise<DebugProtocol.StoppedEvent['body']> {
    const [event] = await Promise.all([dc().waitForEvent('stopped'), request()]);
    return event.body;
  }
  const frames = async (): Promise<DebugProtocol.StackFrame[]> =>
    (await dc().stackTraceRequest({ threadId: 1 })).body.stackFrames;
  const evaluate = async (expression: string, context = 'watch', frameId?: number): Promise<string> =>
    (await dc().evaluateRequest({ expression, context, frameId })).body.result;
  const breakAt = (
    text: string,
    more: Partial<DebugProtocol.SourceBreakpoint> = {},
  ): Promise<DebugProtocol.SetBreakpointsResponse> =>
    dc().setBreakpointsRequest({ source: { path: SOURCE }, breakpoints: [{ line: lineOf(text), ...more }] });
  const go = (): Promise<unknown> => dc().continueRequest({ threadId: 1 });

  it('stops at entry', async () => {
    await launch(fixture);
    const stop = fixture.events.find((event) => event.event === 'stopped')!;
    assert.equal(stop.body.reason, 'entry');
    const [top] = await frames();
    assert.equal(top.name, '_start');
    assert.equal(top.instructionPointerReference, '0x1000bb');
    const { threads } = (await dc().threadsRequest()).body;
    assert.deepEqual(threads, [{ id: 1, name: 'vCPU 0' }]);
  });

  it('hits a source breakpoint set before the guest ran, with stack, locals and arguments', async () => {
    let verified: boolean | undefined;
    await launch(fixture, {}, async () => {
      verified = (await breakAt('int sum = a + b')).body.breakpoints[0].verified;
    });
    assert.equal(verified, true);
    const stop = await stopAfter(go);
    assert.equal(stop.reason, 'breakpoint');
    assert.equal(stop.hitBreakpointIds?.length, 1);
    const stack = await frames();
    assert.deepEqual(
      stack.map((frame) => frame.name),
      ['add', 'walk', 'main', '_start'],
    );
    assert.equal(stack[0].line, lineOf('int sum = a + b'));
    assert.equal(stack[1].line, lineOf('total = add'));
    assert.equal(stack[0].source?.path, SOURCE);

    const { scopes } = (await dc().scopesRequest({ frameId: stack[1].id })).body;
    assert.deepEqual(
      scopes.map((scope) => scope.name),
      ['Locals', 'Arguments', 'Registers'],
    );
    const top = (await dc().scopesRequest({ frameId: stack[0].id })).body.scopes;
    assert.deepEqual(
      top.map((scope) => scope.name),
      [...['Locals', 'Arguments', 'Registers', 'Segments', 'Control', 'MSRs', 'FPU & SIMD', 'Last VM exit', 'VMCS']],
    );
    const { variables: parameters } = (
      await dc().variablesRequest({ variablesReference: scopes[1].variablesReference })
    ).body;
    assert.deepEqual(
      parameters.map((each) => each.name),
      ['p', 'n'],
    );
    assert.equal(parameters[1].value, '3');
    assert.match(parameters[0].value, /^0x0000000000102000 <origin>/);
    const { variables: members } = (
      await dc().variablesRequest({ variablesReference: parameters[0].variablesReference })
    ).body;
    assert.equal(members[0].evaluateName, 'p->x');
    assert.equal(members[0].memoryReference, '0x102000');
    assert.deepEqual(
      members.map((each) => [each.name, each.value]),
      [
        ['x', '1'],
        ['y', '2'],
        ['next', '0x0000000000000000'],
        ['flags', '5'],
        ['rest', '9'],
      ],
    );
    // Callers' frames evaluate with their own registers.
    assert.equal(await evaluate('p->x + n', 'watch', stack[1].id), '4');
    assert.equal(await evaluate('result', 'watch', stack[2].id).catch(() => 'none'), '0');
    await assert.rejects(evaluate('nothing_here'), /column 1: no variable or symbol 'nothing_here'/);
  });

  it('evaluates expressions over registers, symbols, memory and debug information', async () => {
    await launch(fixture, {}, () => breakAt('counter = result'));
    await stopAfter(go);
    const cases: [string, string][] = [
      ['origin.x + origin.y * 10', '21'],
      ['(&origin)->flags', '5'],
      ['table[2]', '30'],
      ['*(table + 3)', '40'],
      ['table', '[4] {10, 20, 30, 40}'],
      ['sizeof(struct point)', '24'],
      ['*(uint32_t *)&origin', '0x1'],
      ['*(uint32_t*)phys:0x102004', '0x2'],
      ['result == 3 && counter == 3', '1'],
      ['$sp - $rsp', '0x0'],
      ['&table[1]', '0x0000000000102024 <table+0x4>'],
      ['greeting', '0x0000000000101000 "hello"'],
      ['IA32_LSTAR', '0xc0000082'],
    ];
    for (const [expression, expected] of cases) assert.equal(await evaluate(expression), expected, expression);
    assert.match(await evaluate('$rip'), /^0x00000000001000[0-9a-f]{2} <main\+0x[0-9a-f]+>$/);
    assert.match(await evaluate('$icount'), /^\d+$/);
    assert.match(await evaluate('add'), /^0x1000[0-9a-f]{2}/);
    assert.match(await evaluate('origin'), /x = 1.*y = 2|1, .*2/);
  });

  it('writes variables, members, bit fields and registers', async () => {
    await launch(fixture, {}, () => breakAt('counter = result'));
    await stopAfter(go);
    const [top] = await frames();
    const { scopes } = (await dc().scopesRequest({ frameId: top.id })).body;
    const registers = scopes.find((scope) => scope.name === 'Registers')!;
    const set = await dc().setVariableRequest({
      variablesReference: registers.variablesReference,
      name: 'rbx',
      value: 'table[1] + 1',
    });
    assert.equal(set.body.value, '0x0000000000000015');
    assert.equal(await evaluate('$ebx'), '0x00000015');
    const control = scopes.find((scope) => scope.name === 'Control')!;
    await assert.rejects(
      dc().setVariableRequest({ variablesReference: control.variablesReference, name: 'cr0', value: '1 << 40' }),
      /reserved bits/,
    );
    await dc().setVariableRequest({ variablesReference: scopes[0].variablesReference, name: 'result', value: '-5' });
    assert.equal(await evaluate('result'), '-5');
    assert.equal(await evaluate('origin.flags = 2', 'repl'), '2');
    assert.equal(await evaluate('origin.rest'), '9');
    await assert.rejects(evaluate('origin.flags = 9', 'repl'), /does not fit in 3 bits/);
    const changed = await dc().customRequest('setExpression', { expression: 'table[0]', value: '11', frameId: top.id });
    assert.equal(changed.body.value, '11');
    assert.ok(fixture.events.some((event) => event.event === 'invalidated'));
  });

  it('steps in, over and out by statements', async () => {
    await launch(fixture, {}, () => breakAt('int result = walk'));
    await stopAfter(go);
    await stopAfter(() => dc().stepInRequest({ threadId: 1 }));
    assert.deepEqual([(await frames())[0].name, (await frames())[0].line], ['walk', lineOf('int total = 0')]);
    await stopAfter(() => dc().nextRequest({ threadId: 1 }));
    await stopAfter(() => dc().nextRequest({ threadId: 1 }));
    assert.equal((await frames())[0].line, lineOf('total = add'));
    const over = await stopAfter(() => dc().nextRequest({ threadId: 1 }));
    assert.equal(over.reason, 'step');
    assert.equal((await frames())[0].line, lineOf('counter = counter + 1'));
    await stopAfter(() => dc().stepOutRequest({ threadId: 1 }));
    assert.equal((await frames())[0].name, 'main');
    await stopAfter(() => dc().nextRequest({ threadId: 1 }));
    assert.equal((await frames())[0].line, lineOf('counter = result'));
    // port_write has no line information: stepIn comes back out of it.
    await stopAfter(() => dc().nextRequest({ threadId: 1 }));
    await stopAfter(() => dc().stepInRequest({ threadId: 1 }));
    assert.deepEqual([(await frames())[0].name, (await frames())[0].line], ['main', lineOf('counter = counter + 100')]);
  });

  it('steps by instructions', async () => {
    await launch(fixture);
    await stopAfter(() => dc().stepInRequest({ threadId: 1, granularity: 'instruction' }));
    assert.equal((await frames())[0].instructionPointerReference, '0x1000bd');
    await stopAfter(() => dc().stepInRequest({ threadId: 1, granularity: 'instruction' }));
    const stack = await frames();
    assert.deepEqual(
      stack.map((frame) => frame.name),
      ['main', '_start'],
    );
    await stopAfter(() => dc().stepBackRequest({ threadId: 1, granularity: 'instruction' }));
    assert.equal((await frames())[0].instructionPointerReference, '0x1000bd');
  });

  it('goes back by statements and to breakpoints', async () => {
    await launch(fixture, {}, () => breakAt('counter = result'));
    await stopAfter(go);
    const before = Number(await evaluate('$icount'));
    await stopAfter(() => dc().stepBackRequest({ threadId: 1 }));
    assert.equal((await frames())[0].line, lineOf('int result = walk'));
    await breakAt('int sum = a + b');
    const stop = await stopAfter(() => dc().reverseContinueRequest({ threadId: 1 }));
    assert.equal(stop.reason, 'entry'); // the history begins before add was called
    assert.equal(stop.text, undefined);
    const [, body] = await Promise.all([evaluate(`goto icount ${before}`, 'repl'), dc().waitForEvent('stopped')]);
    assert.equal(body.body.reason, 'goto');
    assert.equal(Number(await evaluate('$icount')), before);
    const back = await stopAfter(() => dc().reverseContinueRequest({ threadId: 1 }));
    assert.equal(back.reason, 'breakpoint');
    assert.equal(await evaluate('a'), '2');
  });

  it('goes back over calls to where a statement begins, past breakpoints in them', async () => {
    await launch(fixture);
    await breakAt('  ask_processor();');
    await dc().setFunctionBreakpointsRequest({ breakpoints: [{ name: 'port_write' }] });
    await stopAfter(go);
    await stopAfter(go);
    assert.equal((await frames())[0].line, lineOf('  ask_processor();'));
    for (const text of ['counter = counter + 100', '  port_write();', 'counter = result', 'int result = walk']) {
      assert.equal((await stopAfter(() => dc().stepBackRequest({ threadId: 1 }))).reason, 'step');
      const [top] = await frames();
      assert.deepEqual([top.name, top.line], ['main', lineOf(text)]);
    }
  });

  it('decides hits by conditions, hit counts and log messages', async () => {
    await launch(fixture, {}, () => breakAt('int sum = a + b', { condition: 'a == 2' }));
    await stopAfter(go);
    assert.equal(await evaluate('a'), '2');
    await breakAt('int sum = a + b', { logMessage: 'a is {a}, sum of {a + b}' });
    await dc().setFunctionBreakpointsRequest({ breakpoints: [{ name: 'port_write' }] });
    await stopAfter(() => dc().restartRequest({}));
    const stop = await stopAfter(go);
    assert.equal(stop.reason, 'function breakpoint');
    assert.equal((await frames())[0].name, 'port_write');
    assert.equal(fixture.output('console'), 'a is 0, sum of 1\na is 1, sum of 2\na is 2, sum of 3\n');
    await breakAt('int sum = a + b', { hitCondition: '>1' });
    await stopAfter(() => dc().restartRequest({}));
    await stopAfter(go);
    assert.equal(await evaluate('a'), '1');
    const wrong = await breakAt('int sum = a + b', { condition: 'a = 2' });
    assert.equal(wrong.body.breakpoints[0].verified, false);
    assert.match(wrong.body.breakpoints[0].message!, /did you mean '=='/);
  });

  it('stops at exits by filter and condition, and explains them', async () => {
    const initialize = await connect();
    const filters = (await initialize.client.initializeRequest()).body!.exceptionBreakpointFilters!.map(
      (each) => each.filter,
    );
    await initialize.close();
    assert.deepEqual(filters, ['CPUID', 'IO_INSTRUCTION', 'HLT', 'TRIPLE_FAULT', '#PF', '#UD']);

    await launch(fixture, {}, () =>
      dc().setExceptionBreakpointsRequest({
        filters: ['CPUID'],
        filterOptions: [{ filterId: 'IO_INSTRUCTION', condition: 'port == 0x3f8 && write && value == 0x41' }],
      } as DebugProtocol.SetExceptionBreakpointsArguments),
    );
    const stop = await stopAfter(go);
    assert.equal(stop.reason, 'exception');
    assert.equal(stop.text, 'IO_INSTRUCTION');
    const about = (await dc().exceptionInfoRequest({ threadId: 1 })).body;
    assert.equal(about.exceptionId, 'IO_INSTRUCTION');
    assert.match(
      about.details!.stackTrace!,
      /Exit reason: 0x0000001e IO_INSTRUCTION\nExit qualification: .*\n {2}Port: 0x3f8/,
    );
    assert.equal(fixture.output('stdout'), 'A');
    assert.equal((await stopAfter(go)).text, 'CPUID');
    const { exits } = (await dc().customRequest('ringside/exits', { count: 10 })).body;
    assert.deepEqual(
      exits.map((exit: { name: string }) => exit.name),
      ['CPUID', 'IO_INSTRUCTION'],
    );
    assert.equal(exits[0].symbol, 'ask_processor+0x5');
    assert.match(exits[0].rip, /^0x1000/);
    const bad = await dc().setExceptionBreakpointsRequest({
      filters: [],
      filterOptions: [{ filterId: 'CPUID', condition: 'leef == 1' }],
    } as DebugProtocol.SetExceptionBreakpointsArguments);
    const [result] = (bad.body as { breakpoints: DebugProtocol.Breakpoint[] }).breakpoints;
    assert.match(result.message!, /no variable or symbol 'leef'; did you mean leaf/);
    assert.ok(fixture.events.some((event) => event.event === 'ringside/exitsChanged'));
  });

  it('stops at data breakpoints by variable, address and physical address', async () => {
    await launch(fixture);
    const info = (await dc().dataBreakpointInfoRequest({ name: 'counter' })).body;
    assert.equal(info.dataId, '0x102030/4');
    assert.deepEqual(info.accessTypes, ['read', 'write', 'readWrite']);
    const byAddress = (
      await dc().dataBreakpointInfoRequest({ name: 'phys:0x102000', asAddress: true, bytes: 16 } as never)
    ).body;
    assert.equal(byAddress.dataId, 'phys:0x102000/16');
    const register = (await dc().dataBreakpointInfoRequest({ name: '$rax' })).body;
    assert.equal(register.dataId, null);
    await dc().setDataBreakpointsRequest({ breakpoints: [{ dataId: info.dataId!, accessType: 'write' }] });
    const stop = await stopAfter(go);
    assert.equal(stop.reason, 'data breakpoint');
    assert.equal((await frames())[0].name, 'walk');
    assert.equal(await evaluate('counter'), '1');
  });

  it('sets instruction breakpoints', async () => {
    await launch(fixture);
    const set = await dc().customRequest('setInstructionBreakpoints', {
      breakpoints: [{ instructionReference: '0x1000bb', offset: 2 }],
    });
    assert.equal(set.body.breakpoints[0].verified, true);
    assert.equal((await stopAfter(go)).reason, 'instruction breakpoint');
    assert.equal((await frames())[0].instructionPointerReference, '0x1000bd');
  });

  it('disassembles with symbols and lines, stable before the start', async () => {
    await launch(fixture);
    const around = (
      await dc().disassembleRequest({ memoryReference: '0x100014', instructionOffset: -6, instructionCount: 12 })
    ).body!.instructions;
    assert.equal(around.length, 12);
    assert.equal(around[6].address, '0x100014');
    const all = (await dc().disassembleRequest({ memoryReference: '0x100000', instructionCount: 40 })).body!
      .instructions;
    assert.equal(all[0].symbol, 'add');
    assert.equal(all[0].location?.path, SOURCE);
    const at = all.findIndex((each) => each.address === '0x100014');
    assert.deepEqual(
      around.map((each) => each.instruction).slice(-6 - at),
      all
        .slice(0, 6 + at)
        .map((each) => each.instruction)
        .slice(-12),
    );
    const nowhere = (
      await dc().disassembleRequest({ memoryReference: '0xfeff0', instructionOffset: -3, instructionCount: 6 })
    ).body!.instructions;
    assert.deepEqual(
      nowhere.map((each) => each.presentationHint),
      Array(6).fill('invalid'),
    );
    assert.equal(
      (await dc().disassembleRequest({ memoryReference: '0x0', instructionOffset: -50, instructionCount: 100 })).body!
        .instructions.length,
      100,
    );
  });

  it('reads and writes memory in all address spaces', async () => {
    await launch(fixture);
    const read = (await dc().customRequest('readMemory', { memoryReference: 'phys:0x102000', offset: 4, count: 4 }))
      .body;
    assert.deepEqual(read, { address: 'phys:0x102004', data: Buffer.from([2, 0, 0, 0]).toString('base64') });
    const end = (await dc().customRequest('readMemory', { memoryReference: '0x10fffe', count: 4 })).body;
    assert.equal(end.unreadableBytes, 2);
    await dc().customRequest('writeMemory', { memoryReference: '0x102004', data: Buffer.from([9]).toString('base64') });
    assert.equal(await evaluate('origin.y'), '9');
    await assert.rejects(
      dc().customRequest('readMemory', { memoryReference: 'nowhere', count: 1 }),
      /expected 0x1000, phys:0x1000/,
    );
    await assert.rejects(dc().customRequest('writeMemory', { memoryReference: '0x5', data: 'AAAA' }), /not mapped/);
  });

  it('runs debug console commands', async () => {
    await launch(fixture);
    assert.match(await evaluate('help', 'repl'), /info TOPIC/);
    assert.doesNotMatch(await evaluate('help', 'repl'), /xen|tlb/);
    assert.match(await evaluate('info registers', 'repl'), /rip {8}0x00000000001000bb <_start>\n/);
    assert.equal(await evaluate('x/2xg &origin', 'repl'), '0x102000 <origin>: 0x0000000200000001 0x0000000000000000');
    assert.equal(await evaluate('x/s greeting', 'repl'), '0x101000: "hello"');
    assert.match(await evaluate('disas', 'repl'), /=> 0x1000bb <_start> 31 ed +xor ebp, ?ebp/);
    assert.match(await evaluate('info ept 0x101234', 'repl'), /EPT PTE \[257\].*\n= phys:0x101234/);
    assert.match(await evaluate('info devices', 'repl'), /UART 16550: COM1\n {2}Divisor: 0x0001 {2}115200 baud/);
    await assert.rejects(evaluate('info tlb', 'repl'), /no 'info tlb' in this version; available: registers/);
    await assert.rejects(evaluate('info tasks', 'repl'), /info tasks: expected the symbol init_task, which/);
    await assert.rejects(evaluate('save file', 'repl'), /can't write '.*file': this engine saves no snapshots/);
    await assert.rejects(evaluate('power button', 'repl'), /this machine has no power button/);
    await assert.rejects(evaluate('keep file', 'repl'), /commands are help, info/);
    await evaluate('exits arm CPUID if leaf == 1', 'repl');
    assert.equal((await stopAfter(go)).text, 'CPUID');
    const { targets } = (await dc().completionsRequest({ text: 'info reg', column: 9 })).body;
    assert.deepEqual(targets.map((each) => each.label).slice(0, 1), ['registers']);
    const registers = (await dc().completionsRequest({ text: '$ra', column: 4 })).body.targets.map(
      (each) => each.label,
    );
    assert.ok(registers.includes('$rax'));
    const names = (await dc().completionsRequest({ text: 'orig', column: 5 })).body.targets.map((each) => each.label);
    assert.deepEqual(names, ['origin']);
  });

  it('sends the console as output, and ends with how and where', async () => {
    const ended = Promise.all([dc().waitForEvent('terminated'), dc().waitForEvent('exited')]);
    await launch(fixture, { stopOnEntry: false });
    const [, exited] = await ended;
    assert.equal(exited.body.exitCode, 0);
    assert.equal(fixture.output('stdout'), 'A');
    assert.match(fixture.output('console'), /The guest powered off after \d+ instructions\./);
    await assert.rejects(go(), /ended/);
  });

  it('sends the console only to an attached terminal when the client asks for that', async () => {
    await launch(fixture, { __attachConsole: true }, () =>
      dc().setFunctionBreakpointsRequest({ breakpoints: [{ name: 'ask_processor' }] }),
    );
    await stopAfter(go);
    assert.equal(fixture.output('stdout'), '');
    const backlog = (await dc().customRequest('ringside/consoleAttach')).body.data;
    assert.equal(Buffer.from(backlog, 'base64').toString(), 'A');
    const [machine] = fixture.engine.machines;
    const arrived = dc().waitForEvent('ringside/console');
    machine.report('console', Buffer.from('more'));
    assert.equal(Buffer.from((await arrived).body.data, 'base64').toString(), 'more');
    await dc().customRequest('ringside/consoleInput', { data: Buffer.from('x\r').toString('base64') });
    assert.equal(machine.typed, 'x\r');
  });

  it('tells of a triple fault with its symbol', async () => {
    await launch(fixture);
    const ended = dc().waitForEvent('terminated');
    fixture.engine.machines[0].report('ended', {
      kind: 'triple fault',
      cpu: 0,
      rip: 0x100003n,
      text: '#DF handler not present',
    });
    await ended;
    assert.match(
      fixture.output('console'),
      /Triple fault on vCPU 0 at 0x100003 <add\+0x3> \(\/fixtures\/walk\.c:\d+\): #DF handler not present/,
    );
  });

  it('restarts and terminates', async () => {
    await launch(fixture, {}, () => breakAt('int result = walk'));
    await stopAfter(go);
    assert.equal((await stopAfter(() => dc().restartRequest({}))).reason, 'entry');
    assert.equal(await evaluate('$icount'), '0');
    assert.equal((await stopAfter(go)).reason, 'breakpoint');
    await Promise.all([dc().waitForEvent('terminated'), dc().terminateRequest()]);
    assert.equal(fixture.engine.machines[0].disposed, true);
  });

  it('answers while the guest spins, pauses it, and restarts it', async () => {
    await launch(fixture);
    // jmp $ at the current instruction
    await dc().customRequest('writeMemory', {
      memoryReference: '0x1000bb',
      data: Buffer.from([0xeb, 0xfe]).toString('base64'),
    });
    await go();
    assert.equal((await breakAt('counter = 7')).body.breakpoints[0].verified, true);
    await assert.rejects(dc().stackTraceRequest({ threadId: 1 }), /running; pause it first/);
    assert.equal((await dc().threadsRequest()).body.threads.length, 1);
    assert.equal((await stopAfter(() => dc().pauseRequest({ threadId: 1 }))).reason, 'pause');
    await go();
    assert.equal((await stopAfter(() => dc().restartRequest({}))).reason, 'entry');
    assert.equal(await evaluate('$icount'), '0');
  });

  it('answers a launch that cannot be with what is wrong', async () => {
    const attempt = async (attributes: Record<string, unknown>): Promise<string> => {
      const other = await connect();
      try {
        await launch(other, attributes);
        return 'launched';
      } catch (error) {
        return (error as Error).message;
      } finally {
        await other.close();
      }
    };
    assert.match(await attempt({ kernel: '/no/such/kernel' }), /^kernel: there is no file '\/no\/such\/kernel'/);
    assert.match(await attempt({ memroy: '1M' }), /^memroy: there is no such attribute. Did you mean "memory"\?/);
    assert.match(await attempt({ memory: -5 }), /^memory: /);
    assert.match(await attempt({ exits: ['CPUIDD'] }), /^exits\[0\]: .*did you mean "CPUID"/);
    assert.match(
      await attempt({ mode: 'xen' }),
      /^mode: "xen" is not available in this version, which supports "bare"/,
    );
    await assert.rejects(dc().attachRequest({} as never), /attach/);
  });

  it('knows its sources, modules and possible breakpoints, and refuses what it does not know', async () => {
    await launch(fixture);
    const { sources } = (await dc().customRequest('loadedSources')).body;
    assert.deepEqual(sources, [{ name: 'walk.c', path: SOURCE }]);
    const { modules } = (await dc().modulesRequest({})).body;
    assert.equal(modules[0].path, FIXTURE);
    const from = lineOf('int add(int a');
    const lines = (
      await dc().customRequest('breakpointLocations', { source: { path: SOURCE }, line: from, endLine: from + 3 })
    ).body.breakpoints;
    assert.deepEqual(
      lines.map((each: { line: number }) => each.line - from),
      [0, 1, 2, 3],
    );
    await assert.rejects(dc().customRequest('ringside/nothing'), /not known/);
    await assert.rejects(dc().customRequest('ringside/ept', { cpu: 4 }), /no vCPU 4/);
    assert.equal((await dc().customRequest('ringside/eptWalk', { gpa: '0x101000' })).body.result, '0x101000');
    await assert.rejects(dc().stepOutRequest({ threadId: 1 }), /outermost/);
  });
});
