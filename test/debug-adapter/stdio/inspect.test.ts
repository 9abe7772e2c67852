import assert from 'node:assert/strict';
import type { DebugProtocol as DAP } from '@vscode/debugprotocol';
import { hex, refusal, values, withAdapter } from './adapter';

// Line numbers are those of samples/hello-guest/main.c. Values are what the sources, the SDM and `nm hello.elf` say.
const AT_CALL_OF_RECURSE = 306;
const LOOP_OVER_TASKS = 248;

describe('inspecting a guest over stdio', () => {
  it('registers of every scope have their real values', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', AT_CALL_OF_RECURSE));
      const entry = await a.scope('Registers');
      // Multiboot specification 0.6.96, 3.2 "Machine state"; entry point from the ELF header.
      assert.equal(entry.rip.split(' ')[0], '0x0000000000100027');
      assert.equal(entry.rax, '0x000000002badb002');
      assert.match((await a.scope('Control')).cr0, /^0x0000000000000011 PE ET$/);
      assert.match((await a.scope('Segments'))['cs.attr'], /D\/B/);
      await a.go();
      const registers = await a.scope('Registers');
      assert.match(registers.rip, /^0x0000000000100d[0-9a-f]{2} <kernel_main\+0x[0-9a-f]+>$/);
      assert.equal(registers.rbp, '0x000000000010bff0');
      assert.match(registers.rflags, /^0x00000000000000[0-9a-f]{2}( |$)/);
      for (const value of Object.values(registers)) assert.match(value, /^0x[0-9a-f]{16}( |$)/);
      const segments = await a.scope('Segments');
      assert.equal(segments.cs.split(' ')[0], '0x0008');
      assert.match(segments['cs.attr'], /^0x0000a09b .*\bL\b/);
      assert.equal(segments.tr.split(' ')[0], '0x0018');
      assert.equal(segments['tr.limit'], '0x00000067');
      const control = await a.scope('Control');
      assert.equal(control.cr0, '0x0000000080010011 PE ET WP PG');
      assert.equal(control.cr2, '0xffff800000000000');
      assert.equal(control.cr3, '0x0000000000104000 <pml4>');
      assert.equal(control.cr4, '0x0000000000000020 PAE');
      assert.match(control['idtr.base'], /<idt>$/);
      assert.equal(control['idtr.limit'], '0x02ff');
      const msrs = await a.scope('MSRs');
      assert.equal(msrs.IA32_EFER, '0x0000000000000d00 LME LMA NXE');
      assert.equal(msrs.IA32_LSTAR, '0xffffffff81000000');
      assert.equal(msrs.IA32_APIC_BASE, '0x00000000fee00900 BSP EN');
      const exit = await a.scope('Last VM exit');
      assert.equal(exit.Exit, 'IO_INSTRUCTION out 0x3f8 <- 0xa (8 bits)');
      assert.equal(exit['VM-exit instruction length'], '1');
      const vmcs = await a.children(await a.scopeReference('VMCS'));
      assert.deepEqual(
        vmcs.map(({ name }) => name),
        ['Guest state', 'Host state', 'Control', 'Exit information'],
      );
      const guestState = values(await a.children(vmcs[0].variablesReference));
      assert.match(guestState['Guest CR3'], /^0x0000000000104000/);
      assert.match(guestState['Guest RIP'], new RegExp(registers.rip.split(' ')[0]));
      assert.match(guestState['Guest CS access rights'], /^0x0000a09b/);
      const exitInformation = values(await a.children(vmcs[3].variablesReference));
      assert.match(exitInformation['Exit reason'], /^0x0000001e IO_INSTRUCTION/);
    }));

  it('presses the power button, and says that this guest does not listen to it', () =>
    withAdapter(async (a) => {
      await a.begin();
      assert.match(await a.repl('power button'), /is pressed, but the guest does not listen to it/);
      assert.match(await a.repl('info devices'), /PM1_STS\S* +0x0100 .*PWRBTN/);
    }));

  it('has the x87 registers; there is no XMM where CPUID announces no SSE', () =>
    withAdapter(async (a) => {
      await a.begin({ cpu: { features: ['-sse'] } });
      const registers = await a.scope('FPU & SIMD');
      // SDM Vol. 3A, "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT".
      assert.match(registers.fcw, /^0x0040\b/);
      assert.match(registers.fsw, /^0x0000\b/);
      assert.match(registers.ftw, /^0x5555\b/);
      assert.equal(registers.st0, `0x${'0'.repeat(20)} 0`);
      assert.ok(!('xmm0' in registers));
    }));

  it('x87 and vector registers are written, whole and by lanes', () =>
    withAdapter(async (a) => {
      await a.begin({ cpu: { features: ['+avx'] } });
      const set = (name: string, value: string): Promise<string> => a.setRegister('FPU & SIMD', name, value);
      // IEEE 754: 1.5 and -2 in double extended precision; 1.0 and 0.5 in single precision are 3f800000h and 3f000000h.
      assert.equal(await set('st0', '1.5'), '0x3fffc000000000000000 1.5');
      assert.equal(await set('st7', '0xc0008000000000000000'), '0xc0008000000000000000 -2');
      assert.equal(await set('st1', '-inf'), '0xffff8000000000000000 -inf');
      const lanes =
        'v4_float {1, 0.5, 0, 0} v2_double {0.000030517585344114195, 0} v4_int32 {1065353216, 1056964608, 0, 0}';
      const xmm0 = '0x00000000000000003f0000003f800000';
      assert.equal(await set('xmm0', xmm0), `${xmm0} ${lanes}`);
      const show = (expression: string): Promise<string> => a.repl(expression);
      assert.equal(await show('$xmm0.v4_float[1]'), '0.5');
      assert.equal(await show('$xmm0.v4_float[2] = 2.25'), '2.25');
      assert.equal(await show('$xmm0.v4_int32[2]'), String(0x40100000));
      assert.equal(await show('$xmm0.v16_int8[3]'), '63');
      assert.equal(await show('$ymm0.v4_int64[3] = -5'), '-5');
      assert.match(await show('$ymm0'), /^0xfffffffffffffffb0000000000000000000000004010/);
      assert.match(await show('$xmm0.v4_float'), /1.*0\.5.*2\.25.*0/);
      assert.match(await show('$mxcsr'), /^0x00001f80 IM DM ZM OM UM PM rounds to nearest/);
      await assert.rejects(set('mxcsr', '0x10000'), /reserved bits/);
      assert.match(await show('info fpu'), /^st0 +0x3fffc000000000000000 1\.5$/m);
    }));

  it('lanes take numbers, not bits: literals, lists, expressions and other lanes', () =>
    withAdapter(async (a) => {
      await a.begin({ cpu: { features: ['+avx'] } });
      const bits = async (assignment: string): Promise<string> => {
        await a.repl(assignment);
        return (await a.repl('$xmm0')).split(' ')[0];
      };
      // IEEE 754 single precision: 1.0 3f800000h, 2.0 40000000h, 3.0 40400000h, 4.0 40800000h, 0.0015 3ac49ba6h.
      assert.equal(await bits('$xmm0.v4_float = 3'), `0x${'40400000'.repeat(4)}`);
      assert.equal(await bits('$xmm0.v4_float = {1, 2, 3, 1.5e-3}'), '0x3ac49ba640400000400000003f800000');
      assert.equal(await bits('$xmm0.v4_float[3] = 1 + 3'), '0x4080000040400000400000003f800000');
      assert.equal(await bits('$xmm0.v4_float[0] = nan'), '0x4080000040400000400000007fc00000');
      assert.equal(await bits('$xmm0.v4_float[0] = -inf'), '0x408000004040000040000000ff800000');
      assert.equal(await bits('$xmm0.v4_float[0] = $xmm0.v4_float[3]'), '0x40800000404000004000000040800000');
      assert.equal(await bits('$xmm0.v2_double = {-inf, 1.5}'), '0x3ff8000000000000fff0000000000000');
      assert.equal(await bits('$xmm0.v8_int16 = {1, 2, 3, 4, 5, 6, 7, -1}'), '0xffff0007000600050004000300020001');
      assert.equal(await bits('$xmm0.v4_int32 = 7'), `0x${'00000007'.repeat(4)}`);
      assert.equal(await a.repl('$xmm0 == 0'), '0');
      assert.equal(await bits('$xmm0 = 0'), `0x${'0'.repeat(32)}`);
      assert.equal(await a.repl('$xmm0 == 0'), '1');
      assert.match(await a.repl('$st0 = 1.5e-3'), / 0\.0015$/);
    }));

  it('says what a vector register takes when a value is none', () =>
    withAdapter(async (a) => {
      await a.begin({ cpu: { features: ['+avx'] } });
      const why = async (text: string, what: RegExp): Promise<void> => assert.match(await refusal(a.repl(text)), what);
      const lane = /\$xmm0 takes a whole number of 128 bits, not 1\.5; .*lane, such as \$xmm0\.v4_float\[0\] = 1\.5/;
      await why('$xmm0 = 1.5', lane);
      assert.match(await refusal(a.setRegister('FPU & SIMD', 'xmm0', '1.5')), lane);
      await why('$ymm3 = -inf', /\$ymm3\.v8_float\[0\] = -inf/);
      await why('$mm0 = 1.5', /\$mm0 takes a whole number of 64 bits, not 1\.5$/);
      await why('$rax = 1e3', /\$rax takes a whole number of 64 bits, not 1e3$/);
      await why('$xmm0.v4_int32[0] = 1.5', /this part of \$xmm0 takes a whole number of 32 bits, not 1\.5/);
      await why('$xmm0.v4_int32 = 1.5', /'int32_t' takes whole numbers, not 1\.5/);
      await why('$xmm0.v4_float = {1, 2}', /expected 4 values, \{1, 2, 3, 4\}, or one for all lanes, got 2/);
      await why('$xmm0.v16_int8 = 256', /256 does not fit in 8 bits/);
      await why('$xmm0.v4_float[0] = zero', /no variable or symbol 'zero'/);
      await why('info fpuu', /there is no 'info fpuu' in this version; did you mean 'info fpu'\? available: registers/);
    }));

  it('shows what the processor model and features bring', () =>
    withAdapter(async (a) => {
      await a.begin({ cpu: { model: 'max', features: ['-invpcid'] } }, () => a.breakAt('main.c', AT_CALL_OF_RECURSE));
      const control = await a.scope('Control');
      assert.equal(control.pkru, '0x00000000');
      const msrs = await a.scope('MSRs');
      assert.match(msrs.IA32_ARCH_CAPABILITIES, /RDCL_NO/);
      assert.match(msrs.IA32_MTRR_DEF_TYPE, /Type=WB FE E/);
    }));

  it('locals, structures, arrays, enumerations, bit-fields and pointers', () =>
    withAdapter(async (a) => {
      await a.begin({ stopOnEntry: false }, () => a.breakAt('main.c', { line: LOOP_OVER_TASKS, hitCondition: '2' }));
      const locals = await a.children(await a.scopeReference('Locals'));
      assert.equal(values(locals).total, '43');
      const task = locals.find(({ name }) => name === 'task')!;
      assert.equal(task.type, 'struct task *');
      assert.match(task.value, /<tasks\+0x38>/);
      const members = await a.children(task.variablesReference);
      const shown = values(members);
      assert.equal(shown.name, '"shell"');
      assert.equal(shown.state, 'TASK_RUNNING');
      assert.equal(shown.priority, '5');
      assert.equal(shown.kernel, '0');
      assert.equal(shown.traced, '1');
      assert.equal(shown.samples, '[4] {23, 42, 1, 2}');
      assert.match(shown.parent, /<tasks>$/);
      const samples = await a.children(members.find(({ name }) => name === 'samples')!.variablesReference);
      assert.deepEqual(
        samples.map(({ name, value }) => `${name} ${value}`),
        ['[0] 23', '[1] 42', '[2] 1', '[3] 2'],
      );
      const parent = await a.children(members.find(({ name }) => name === 'parent')!.variablesReference);
      assert.equal(values(parent).name, '"init"');
      assert.equal(parent[0].evaluateName, 'task->parent->name');
      assert.equal(await a.evaluate(parent[0].evaluateName), '"init"');
      const hexSamples = (
        await a.variablesRequest({
          variablesReference: members.find(({ name }) => name === 'samples')!.variablesReference,
          format: { hex: true },
        })
      ).body.variables;
      assert.equal(hexSamples[0].value, '0x17');
    }));

  it('setVariable changes locals, members, bit-fields and registers, and the guest goes on with them', () =>
    withAdapter(async (a) => {
      await a.begin({ stopOnEntry: false }, () => a.breakAt('main.c', LOOP_OVER_TASKS));
      const set = async (variablesReference: number, name: string, value: string): Promise<string> =>
        (await a.setVariableRequest({ variablesReference, name, value })).body.value;
      const locals = await a.scopeReference('Locals');
      assert.equal(await set(locals, 'total', '1000'), '1000');
      const task = (await a.children(locals)).find(({ name }) => name === 'task')!;
      assert.equal(await set(task.variablesReference, 'state', 'TASK_ZOMBIE'), 'TASK_ZOMBIE');
      assert.equal(await set(task.variablesReference, 'priority', '9'), '9');
      assert.equal(await set(task.variablesReference, 'kernel', '1'), '1');
      const samples = (await a.children(task.variablesReference)).find(({ name }) => name === 'samples')!;
      assert.equal(await set(samples.variablesReference, '[0]', '-4'), '-4');
      assert.match(await refusal(set(locals, 'total', 'nonsense')), /nonsense/);
      await a.breakAt('main.c');
      await a.breakIn('factorial');
      await a.finish();
      assert.match(
        a.console,
        /^task: init {3}zombie {3}priority 9 \(kernel\), child of nobody, samples add up to 35$/m,
      );
      assert.match(a.console, /^task: total 1093$/m);
    }));

  it('registers are writable where hardware allows, and say so where not', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakIn('factorial'));
      await a.go();
      await a.breakIn();
      // if (n <= 1): with the comparison's operand changed on the way.
      assert.equal(await a.setRegister('Registers', 'rax', '0x123456789abcdef0'), '0x123456789abcdef0');
      assert.equal(await a.evaluate('$eax'), '0x9abcdef0');
      assert.equal((await a.request('setExpression', { expression: '$al', value: '0x11' })).value, '0x11');
      assert.equal(await a.number('$rax'), 0x123456789abcde11n);
      assert.match(
        await refusal(a.setRegister('Registers', 'rax', '0x10000000000000000')),
        /64 bits|does not fit|too large/i,
      );
      assert.match(await refusal(a.setRegister('Registers', 'rip', '0x8000000000000000')), /canonical/);
      assert.match(await refusal(a.setRegister('Control', 'idtr.limit', '1')), /cannot be written|read-only/);
      const rip = await a.number('$rip');
      await a.setRegister('Registers', 'rip', hex(await a.number('(unsigned long)&power_off')));
      await a.setRegister('Registers', 'rdi', '5');
      assert.equal((await a.frames())[0].name, 'power_off');
      assert.notEqual(await a.number('$rip'), rip);
      assert.equal(await a.finish(), 11);
    }));

  it('evaluates C expressions, for hovers, watches and the debug console', () =>
    withAdapter(async (a) => {
      await a.begin({ stopOnEntry: false }, () => a.breakAt('main.c', { line: LOOP_OVER_TASKS, hitCondition: '2' }));
      for (const context of ['watch', 'hover', 'repl'])
        assert.equal(await a.evaluate('task->samples[1]', 0, context), '42');
      assert.equal(await a.evaluate('task->samples[1] * 2 - (total >> 1)'), '63');
      assert.equal(await a.evaluate('tasks[2].samples[3]'), '-4');
      assert.equal(await a.evaluate('sizeof(struct task)'), '56');
      assert.match(await a.evaluate('&tasks[1]'), /0x0000000000103098/);
      assert.match(await a.evaluate('$rip'), /^0x[0-9a-f]{16} <walk_tasks\+0x1f>$/);
      assert.match(await a.evaluate('$cr3 & ~0xfff'), /^0x104000 <pml4>$/);
      assert.equal(await a.evaluate('task->state == TASK_RUNNING'), '1');
      assert.equal(await a.evaluate('task->parent == &tasks[0] && task->next != 0'), '1');
      assert.match(await a.evaluate('*task'), /name.*"shell"/);
      assert.equal(await a.evaluate('*(unsigned int *)phys:0x103098 == *(unsigned int *)task'), '1');
      assert.equal(await a.evaluate('IA32_LSTAR'), '0xc0000082');
      assert.match(await a.evaluate('$icount'), /^\d+$/);
      assert.match(await refusal(a.evaluate('nobody->home')), /nobody/);
      assert.match(await refusal(a.evaluate('1 +')), /expected/);
      assert.match(await refusal(a.evaluate('*(int *)0')), /read|mapped/);
      assert.equal(await a.evaluate('total = 7', 0, 'repl'), '7');
      assert.equal(await a.evaluate('total'), '7');
      const { targets } = await a.request('completions', {
        text: 'task->par',
        column: 6,
        frameId: (await a.frames())[0].id,
      });
      assert.ok(Array.isArray(targets));
    }));

  it('debug console commands', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', AT_CALL_OF_RECURSE));
      await a.go();
      for (const command of ['help', 'info', 'goto icount', 'x', 'disas', 'exits'])
        assert.match(await a.repl('help'), new RegExp(`^${command}`, 'm'));
      assert.match(await a.repl('info registers'), /^rip +0x0000000000100d[0-9a-f]{2} <kernel_main\+/m);
      assert.match(await a.repl('info registers cr3'), /^cr3 +0x0000000000104000/);
      assert.match(await a.repl('info exits'), /^ +9 {2}CPUID$/m);
      assert.match(
        await a.repl('info exits 2'),
        /VMCALL|IO_INSTRUCTION at 0x[0-9a-f]+ <out8\+0x[0-9a-f]+>: out 0x3f8 <- 0xa/,
      );
      assert.match(await a.repl('info vmcs'), /Exception bitmap: 0x00000000/);
      assert.match(await a.repl('info ept 0x1000'), /EPT PTE.*|EPT PDE.*-> phys:0x[0-9a-f]+ rwx/s);
      assert.match(await a.repl('info ept 0xfee00000'), /not present/);
      const walk = await a.repl('info pt 0xffff800000000000');
      assert.match(walk, /PML4E \[256\] at phys:0x104800/);
      assert.match(walk, /PTE \[0\].*-> phys:0x10e000 r-- .*\n= phys:0x10e000$/);
      assert.match(await a.repl('info devices'), /apic0/);
      assert.match(await a.repl('info msrs'), /^IA32_LSTAR +0xffffffff81000000/m);
      assert.match(await a.repl('info symbol factorial'), /factorial, .*main\.c:258/);
      assert.match(await a.repl('x/2xg $rsp'), /^0x10bfe0[^:]*: 0x[0-9a-f]{16} 0x[0-9a-f]{16}$/);
      assert.match(await a.repl('x/4xb phys:0x103060'), /0x69 0x6e 0x69 0x74/);
      assert.match(await a.repl('x/s 0x103060'), /"init"/);
      assert.match(await a.repl('x/2i factorial'), /<factorial> 55 +push rbp\n.*<factorial\+0x1>/);
      assert.match(await a.repl('disas factorial'), /<factorial\+0x[0-9a-f]+>.*call/);
      assert.match(await a.repl('x/1xg 0'), /can't be read/);
      assert.match(await refusal(a.repl('info nonsense')), /available/);
      assert.match(await refusal(a.repl('goto icount x')), /x/);
    }));

  it('disassembles forward and backward, with symbols and lines', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', AT_CALL_OF_RECURSE));
      await a.go();
      const at = await a.number('(unsigned long)&factorial');
      const list = async (
        instructionOffset: number,
        instructionCount: number,
      ): Promise<DAP.DisassembledInstruction[]> =>
        (
          await a.request('disassemble', {
            memoryReference: hex(at),
            instructionOffset,
            instructionCount,
            resolveSymbols: true,
          })
        ).instructions;
      const forward = await list(0, 17);
      assert.equal(forward.length, 17);
      assert.equal(forward[0].instruction, 'push rbp');
      assert.equal(forward[0].instructionBytes, '55');
      assert.match(forward[0].symbol ?? '', /factorial/);
      assert.equal(forward[0].line, 258);
      assert.match(forward[0].location?.path ?? '', /samples\/hello-guest\/main\.c$/);
      assert.ok(forward.some(({ instruction }) => /^call .*factorial/.test(instruction) || /^call/.test(instruction)));
      const backward = await list(-10, 10);
      assert.equal(backward.length, 10);
      assert.equal(backward[9].instruction, 'ret');
      assert.match(backward[9].symbol ?? '', /walk_tasks/);
      const end = BigInt(backward[9].address) + 1n;
      assert.equal(end, at);
      for (const [i, { address, instructionBytes }] of backward.slice(0, -1).entries()) {
        assert.equal(BigInt(address) + BigInt(instructionBytes!.split(' ').length), BigInt(backward[i + 1].address));
      }
      // Always as many as asked for, also where nothing is mapped.
      const nothing = (
        await a.request('disassemble', { memoryReference: '0x0', instructionOffset: -5, instructionCount: 20 })
      ).instructions;
      assert.equal(nothing.length, 20);
    }));

  it('reads and writes memory, virtual and physical', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', AT_CALL_OF_RECURSE));
      await a.go();
      assert.equal((await a.memory('0xffff800000000000', 7)).toString(), 'written');
      assert.equal((await a.memory('phys:0x10e000', 7)).toString(), 'written');
      const data = Buffer.from('WRITTEN').toString('base64');
      assert.equal((await a.request('writeMemory', { memoryReference: 'phys:0x10e000', data })).bytesWritten, 7);
      assert.equal((await a.memory('0xffff800000000000', 7)).toString(), 'WRITTEN');
      // The guest may not write there; the debugger may.
      await a.request('writeMemory', {
        memoryReference: '0xffff800000000000',
        offset: 1,
        data: Buffer.from('x').toString('base64'),
      });
      assert.equal((await a.memory('phys:0x10e000', 7)).toString(), 'WxITTEN');
      const unmapped = await a.request('readMemory', { memoryReference: '0x0', count: 16 });
      assert.equal(unmapped.data ?? '', '');
      assert.equal(unmapped.unreadableBytes, 16);
      const edge = await a.request('readMemory', { memoryReference: 'phys:0xfffffc', count: 16 });
      assert.equal(Buffer.from(edge.data, 'base64').length, 4);
      assert.equal(edge.unreadableBytes, 12);
      assert.match(await refusal(a.request('writeMemory', { memoryReference: '0x0', data })), /not mapped/);
      assert.match(await refusal(a.request('readMemory', { memoryReference: 'phys:zzz', count: 1 })), /zzz/);
      assert.match(await refusal(a.request('writeMemory', { memoryReference: 'host:0x10', data })), /VMM|host/);
      assert.equal(
        (await a.request('readMemory', { memoryReference: '0x100000', offset: -0x100000, count: 0 })).unreadableBytes ??
          0,
        0,
      );
    }));

  it('code that the debugger changes is the code that runs', () =>
    withAdapter(async (a) => {
      await a.begin({}, () => a.breakAt('main.c', AT_CALL_OF_RECURSE));
      await a.go();
      // factorial: xor eax, eax; ret
      const at = hex(await a.number('(unsigned long)&factorial'));
      await a.request('writeMemory', { memoryReference: at, data: Buffer.from([0x31, 0xc0, 0xc3]).toString('base64') });
      await a.breakAt('main.c');
      await a.finish();
      assert.match(a.console, /^recursion: 10! = 0$/m);
    }));

  it('lists modules, sources and breakpoint locations', () =>
    withAdapter(async (a) => {
      await a.begin();
      assert.match((await a.request('modules', {})).modules[0].path, /hello\.elf$/);
      const { sources } = await a.request('loadedSources', {});
      assert.ok(sources.some(({ name }: DAP.Source) => name === 'main.c'));
      const path = sources.find(({ name }: DAP.Source) => name === 'main.c').path;
      const { breakpoints } = await a.request('breakpointLocations', { source: { path }, line: 257, endLine: 262 });
      assert.deepEqual(
        breakpoints.map(({ line }: { line: number }) => line),
        [258, 259, 260, 261, 262],
      );
    }));
});
