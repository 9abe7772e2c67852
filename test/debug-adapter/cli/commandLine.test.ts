import assert from 'node:assert';
import { applyAttributes, helpText, parseCommandLine, parseCount } from '../../../debug-adapter/cli/commandLine';
import { launchFlags, type Schema } from '../../../debug-adapter/cli/launchFlags';
import packageJson from '../../../package.json';

const schema = packageJson.contributes.debuggers[0].configurationAttributes.launch.properties as unknown as Record<
  string,
  Schema
>;
const parse = (...args: string[]) => parseCommandLine(args, schema);
const attributes = (base: Record<string, unknown>, ...args: string[]) =>
  applyAttributes(base, parse('run', 'k', ...args).attributes, (path) => `/cwd/${path}`);

describe('the start of a run', () => {
  it('takes a word or a path, relative to the current folder', () => {
    assert.deepStrictEqual(attributes({}, '--from', 'a.snapshot'), { from: '/cwd/a.snapshot' });
    assert.deepStrictEqual(attributes({ from: 'x' }, '--from', 'snapshot'), { from: 'snapshot' });
    assert.deepStrictEqual(attributes({ from: 'of the file' }, '--snapshot', 's'), {
      from: 'of the file',
      snapshot: '/cwd/s',
    });
    assert.deepStrictEqual(parse('run', 'k', '--save', 'f').options, { save: 'f' });
  });
});

describe('parseCommandLine', () => {
  it('reads a run', () => {
    const line = parse('run', '--until', 'login:', 'k.elf', '--max-icount=5M', '--stats', '--json');
    assert.strictEqual(line.command, 'run');
    assert.strictEqual(line.argument, 'k.elf');
    assert.deepStrictEqual(line.options, { until: 'login:', maxIcount: '5M', stats: 'true', json: 'true' });
  });
  it('reads a trace', () => {
    const { options, argument } = parse('trace', 'launch.json', '-o', 'x.jsonl', '--filter', 'CPUID', '--name', 'A');
    assert.deepStrictEqual(
      { ...options, argument },
      { output: 'x.jsonl', filter: 'CPUID', name: 'A', argument: 'launch.json' },
    );
  });
  it('reads dap', () => assert.deepStrictEqual(parse('dap', '--server', '4711').options, { server: '4711' }));
  it('takes a name that begins with a dash after --', () =>
    assert.strictEqual(parse('run', '--', '-k').argument, '-k'));

  const bad: [string[], RegExp][] = [
    [[], /no command; there are run, dap, trace/],
    [['boot'], /no command is called 'boot'/],
    [['run'], /CONFIG\|KERNEL is missing/],
    [['run', 'a', 'b'], /got 'a' and 'b'/],
    [['run', 'a', '--nonsense'], /no option is called '--nonsense'/],
    [['run', 'a', '--until'], /--until: TEXT is missing/],
    [['run', 'a', '--stats=1'], /--stats: takes no value/],
    [['run', 'a', '--no-memory'], /no option is called '--no-memory'/],
    [['run', 'a', '-o', 'f'], /no option is called '-o'/],
    [['trace', 'a'], /-o FILE is missing/],
    [['dap', 'a'], /takes no argument/],
    [['dap', '--memory', '1M'], /no option is called '--memory'/],
  ];
  for (const [args, error] of bad) {
    it(`refuses: ringside ${args.join(' ')}`, () => {
      assert.throws(
        () => parse(...args),
        (e: Error) => e.name === 'UsageError' && error.test(e.message),
      );
    });
  }
});

describe('launch attributes as flags', () => {
  it('covers every attribute of the schema that a run can use', () => {
    const own = ['kernel', 'exits', 'stopOnEntry', 'console', 'symbols', 'sourceMap', 'gdbServer'];
    const flags = new Set(launchFlags(schema).map(({ path }) => path[0]));
    assert.deepStrictEqual([...flags], Object.keys(schema));
    const help = helpText(schema, 'run');
    for (const { flag, path } of launchFlags(schema, own)) {
      assert.ok(help.includes(flag) || help.includes(`--[no-]${flag.slice(2)}`), path.join('.'));
    }
  });
  it('gives texts, numbers and switches their types', () => {
    assert.deepStrictEqual(
      attributes(
        { memory: '1G', cmdline: 'a' },
        '--memory',
        '16M',
        '--cpus',
        '2',
        '--no-debug-exit',
        '--mode=kvm',
        '--cmdline',
        '',
      ),
      { memory: '16M', cpus: 2, debugExit: false, mode: 'kvm', cmdline: '' },
    );
    assert.deepStrictEqual(attributes({}, '--debug-exit'), { debugExit: true });
  });
  it('collects a list, and replaces that of the configuration', () => {
    const result = attributes(
      { disks: [{ file: 'old' }] },
      '--disks',
      'a.img',
      '--disks',
      '{"file": "b.img", "bus": "ide"}',
    );
    assert.deepStrictEqual(result.disks, [{ file: '/cwd/a.img' }, { file: '/cwd/b.img', bus: 'ide' }]);
    assert.deepStrictEqual(attributes({}, '--modules', 'm').modules, ['/cwd/m']);
    const shares = attributes({}, '--shares', 'src', '--shares', '{"path": "out", "tag": "out", "access": "write"}');
    assert.deepStrictEqual(shares.shares, [{ path: '/cwd/src' }, { path: '/cwd/out', tag: 'out', access: 'write' }]);
  });
  it('sets parts of an object and leaves the others', () => {
    const cpu = Object.freeze({ vendor: 'intel', features: ['+vmx'] });
    assert.deepStrictEqual(attributes({ cpu }, '--cpu.vendor', 'amd').cpu, { vendor: 'amd', features: ['+vmx'] });
    assert.deepStrictEqual(attributes({ cpu }, '--cpu.features', '-x2apic').cpu, {
      vendor: 'intel',
      features: ['-x2apic'],
    });
  });
  it('makes files relative to the current folder', () => {
    assert.strictEqual(attributes({}, '--initrd', 'i').initrd, '/cwd/i');
    assert.strictEqual(attributes({ initrd: 'w' }, '--cmdline', 'x').initrd, 'w');
  });
  it('refuses a number that is none and JSON that is none', () => {
    assert.throws(() => attributes({}, '--cpus', 'two'), /--cpus: 'two' is not a number/);
    assert.throws(() => attributes({}, '--disks', '{'), /--disks: expected JSON/);
  });
});

describe('parseCount', () => {
  it('takes K, M and G', () => {
    assert.deepStrictEqual(
      ['7', '2K', '3m', '1G'].map((text) => parseCount(text, '-')),
      [7, 2000, 3e6, 1e9],
    );
  });
  for (const text of ['', '0', '-1', '1.5', '5T', '99999999999999999999', '0x10']) {
    it(`refuses '${text}'`, () =>
      assert.throws(() => parseCount(text, '--max-icount'), /--max-icount: expected a count/));
  }
});

describe('helpText', () => {
  it('keeps to the width of a terminal and names every option', () => {
    const help = helpText(schema);
    for (const flag of [
      '--until',
      '--max-icount',
      '--exits',
      '--stats',
      '--json',
      '--name',
      '--filter',
      '--server',
      '--mode',
    ]) {
      assert.ok(help.includes(flag), flag);
    }
    assert.ok(help.split('\n').every((line) => line.length <= 120));
    assert.ok(!helpText(schema, 'dap').includes('--until'));
  });
});
