/** `ringside` as a process: streams, signals, exit statuses. What it makes of its arguments is tested in cli/. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

const root = path.join(__dirname, '..', '..');
const samples = path.join(root, 'samples');
const launchJson = path.join(samples, '.vscode', 'launch.json');

interface Result {
  status: number | null;
  out: string;
  err: string;
}

async function ringside(
  args: string[],
  during?: (child: ChildProcess, seen: () => string) => void,
  environment: NodeJS.ProcessEnv = {},
): Promise<Result> {
  const program = ['-r', 'tsx/cjs', path.join(root, 'debug-adapter', 'cli.ts')];
  const env = { ...process.env, ...environment };
  const child = spawn(process.execPath, [...program, ...args], { cwd: root, env, stdio: ['pipe', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.on('data', (data) => {
    out += data;
    during?.(child, () => out);
  });
  child.stderr.on('data', (data) => (err += data));
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { status, out, err };
}

describe('ringside as a process', () => {
  it('runs the sample guest of a launch.json', async () => {
    const { status, out, err } = await ringside(['run', launchJson, '--stats', '--json']);
    assert.match(out, /hello-guest: done\r?\n$/);
    const statistics = JSON.parse(err.trimEnd().split('\n').pop()!);
    assert.ok(statistics.instructions > 10_000);
    assert.ok(statistics.exits.CPUID > 0);
    assert.equal(status, 0);
  });

  it('compiles as RINGSIDE_COMPILE says, unless it is told', async function () {
    this.timeout(180_000);
    const compiled = async (mode: string, ...told: string[]): Promise<number> => {
      const run = await ringside(['run', launchJson, '--stats', '--json', ...told], undefined, {
        RINGSIDE_COMPILE: mode,
      });
      const { engine, instructions } = JSON.parse(run.err.trimEnd().split('\n').pop()!);
      return engine.compiled / instructions;
    };
    assert.ok((await compiled('always')) > 0.5);
    assert.equal(await compiled('off'), 0);
    assert.equal(await compiled('always', '--compile', 'off'), 0);
  });

  it('saves a snapshot and goes on from it', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'ringside-cli-'));
    try {
      const file = path.join(folder, 's');
      const whole = await ringside(['run', launchJson]);
      const first = await ringside(['run', launchJson, '--until', 'vmcall', '--save', file]);
      assert.equal(first.status, 0);
      assert.match(first.err, /ringside: saved icount \d+ to '/);
      const second = await ringside(['run', launchJson, '--from', file]);
      assert.equal(first.out + second.out, whole.out);
      assert.equal(second.status, 0);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('types what is piped into it', async () => {
    let typed = false;
    const { status, out } = await ringside(['run', launchJson, '--name', 'Boot sector'], (child, seen) => {
      if (typed || !seen().includes('q to quit')) return;
      typed = true;
      child.stdin!.write('q');
    });
    assert.match(out, /q to quit: q\r\nGoodbye\./);
    assert.equal(status, 0);
  });

  it('ends in order when it is told to', async () => {
    const spin = path.join(root, 'test', 'guests', 'spin.bin');
    const { status, err } = await ringside(['run', spin], (child) => child.kill('SIGTERM'));
    assert.match(err, /stopped by the user/);
    assert.equal(status, 130);
  });

  it('gives status 2 and a line for a missing kernel, 3 for a guest that dies', async () => {
    const missing = await ringside(['run', 'no-such-kernel']);
    assert.deepEqual(missing, { status: 2, out: '', err: 'ringside: no-such-kernel: no such file\n' });
    const dead = await ringside(['run', path.join(root, 'test', 'guests', 'tripleFault.bin')]);
    assert.equal(dead.status, 3);
    assert.match(dead.err, /^ringside: triple fault on vCPU 0 at 0x[0-9a-f]+\n$/);
  });

  it('writes a trace', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'ringside-'));
    try {
      const file = path.join(folder, 'trace.jsonl');
      const { status } = await ringside(['trace', launchJson, '-o', file, '--filter', 'CPUID || VMCALL']);
      assert.equal(status, 0);
      const names = (await readFile(file, 'utf8'))
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).name);
      assert.equal(names.filter((name) => name === 'VMCALL').length, 1);
      assert.deepEqual([...new Set(names)].sort(), ['CPUID', 'VMCALL']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
