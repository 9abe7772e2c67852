/**
 * npm run demo: a debugging session without an editor. A DAP client talks to out/debug-adapter/main.js on stdio: boots the
 * sample guest, stops at an exit breakpoint, shows registers, the exit and the EPT walk, steps back, runs to power-off.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { build } from './build.mjs';
import { ensureDependencies } from './lib/dependencies.mjs';
import { DapClient, adapterProgram } from './lib/dapClient.mjs';
import { bold, cyan, dim, green, main, root, yellow } from './lib/project.mjs';

const kernel = path.join(root, 'samples/hello-guest/hello.elf');
/** The exit breakpoint, an exception filter of the adapter's. */
const exit = 'EPT_VIOLATION';

const heading = (text) =>
  console.log(`\n${bold(cyan(`── ${text} `))}${dim('─'.repeat(Math.max(0, 76 - text.length)))}`);
const indent = (text) => text.replace(/^(?=.)/gm, '   ');

/** Variables in columns, as many as fit. */
function columns(variables) {
  const cells = variables.map((one) => ({ plain: `${one.name.padEnd(7)} ${one.value}`, one }));
  const width = Math.max(...cells.map((cell) => cell.plain.length)) + 3;
  const across = Math.max(1, Math.floor(80 / width));
  for (let at = 0; at < cells.length; at += across) {
    const row = cells.slice(at, at + across);
    const text = row.map(
      ({ plain, one }) => `${dim(one.name.padEnd(7))} ${one.value}${' '.repeat(width - plain.length)}`,
    );
    console.log(`   ${text.join('').trimEnd()}`);
  }
}

/** A few instructions from the program counter on. */
async function disassembly(client, count) {
  const frame = await client.topFrame();
  const { instructions } = await client.request('disassemble', {
    memoryReference: frame.instructionPointerReference,
    instructionOffset: 0,
    instructionCount: count,
    resolveSymbols: true,
  });
  instructions.forEach((one, index) => {
    const mark = index === 0 ? yellow('➜') : ' ';
    console.log(` ${mark} ${dim(one.address)}  ${(one.instructionBytes ?? '').padEnd(24)} ${one.instruction}`);
  });
  const place = frame.source ? `${frame.source.name}:${frame.line}` : 'no source';
  console.log(dim(`   in ${frame.name} (${place}), ${await client.evaluate('$icount', 'watch')} instructions retired`));
}

await main(async () => {
  await ensureDependencies();
  if (!existsSync(adapterProgram)) await build({ only: ['adapter'] });

  const started = Date.now();
  const client = new DapClient();
  let serial = '';
  client.on('output', ({ category, output }) => {
    if (category === 'stdout') serial += output;
  });

  try {
    heading(`F5: ${path.relative(root, kernel)}, exit breakpoint on ${exit}`);
    await client.launch({ kernel, stopOnEntry: true, record: true, console: 'debugConsole' }, () =>
      client.request('setExceptionBreakpoints', { filters: [exit] }),
    );
    console.log(`   stopped on entry after ${Date.now() - started} ms`);
    await disassembly(client, 4);

    heading('Continue to the exit breakpoint');
    const stop = await client.resume('continue');
    const info = await client.request('exceptionInfo', { threadId: stop.threadId });
    console.log(`   ${green(info.exceptionId)}: ${info.description ?? stop.text}`);
    await disassembly(client, 4);

    heading('Registers');
    columns(await client.scope('Registers'));

    heading('The exit, decoded');
    const fields = await client.scope('Last VM exit');
    const width = Math.max(...fields.map((field) => field.name.length));
    for (const field of fields) console.log(`   ${dim(field.name.padEnd(width))}  ${field.value}`);

    const physical = fields.find((field) => /guest-physical/i.test(field.name))?.value.match(/0x[0-9a-f]+/i)?.[0];
    heading(`EPT walk of guest-physical ${physical}`);
    console.log(indent(await client.evaluate(`info ept ${physical}`)));

    heading('Step back one instruction');
    await client.resume('stepBack', { granularity: 'instruction' });
    await disassembly(client, 2);

    heading('Continue to power-off');
    await client.request('setExceptionBreakpoints', { filters: [] });
    const ended = client.next('terminated');
    await client.request('continue', { threadId: stop.threadId });
    await ended;
    console.log(indent(serial.replaceAll('\r', '').trimEnd()));
    console.log(`\n${green('✓')} the whole session took ${((Date.now() - started) / 1000).toFixed(1)} s`);
  } finally {
    await client.close();
  }
});
