import assert from 'node:assert';
import { readConfiguration, substituteVariables } from '../../../debug-adapter/cli/configFile';

const launch = `{
  // Use IntelliSense ...
  "version": "0.2.0",
  "configurations": [
    { "type": "node", "request": "launch", "name": "Other", },
    { "type": "ringside", "request": "attach", "name": "Attach", "engine": "gdb" },
    { "type": "ringside", "request": "launch", "name": "First", "kernel": "a" },
    { "type": "ringside", "request": "launch", "name": "Second", "kernel": "b" },
  ]
}`;

describe('readConfiguration', () => {
  it('takes the first launch configuration of type ringside', () => {
    assert.strictEqual(readConfiguration(launch, 'launch.json').kernel, 'a');
  });
  it('takes one by name', () => assert.strictEqual(readConfiguration(launch, 'launch.json', 'Second').kernel, 'b'));
  it('takes a file that holds a single one', () => {
    assert.deepStrictEqual(readConfiguration('{"kernel": "k"}', 'k.json'), { kernel: 'k' });
  });

  const bad: [string, string, string | undefined, RegExp][] = [
    [
      'an unknown name, and lists the known ones',
      launch,
      'Third',
      /launch\.json: .*'Third'; there are 'First', 'Second'$/,
    ],
    ['a configuration of another type', launch, 'Other', /'Other' has type 'node'/],
    ['one that attaches', launch, 'Attach', /'Attach' has .*request 'attach'/],
    ['a launch.json without one', '{"configurations": []}', undefined, /no configuration has "type": "ringside"/],
    ['configurations that are no array', '{"configurations": 1}', undefined, /"configurations" must be an array/],
    ['what is no object', '[]', undefined, /expected an object/],
    ['a single one of another name', '{"name": "A", "kernel": "k"}', 'B', /'B'.*'A'/],
  ];
  for (const [what, text, name, error] of bad) {
    it(`refuses ${what}`, () => assert.throws(() => readConfiguration(text, 'launch.json', name), error));
  }
});

describe('substituteVariables', () => {
  const variables = { workspaceFolder: '/srv/me/kernel', userHome: '/srv/me', env: { OUT: 'build' } };
  it('replaces variables at any depth', () => {
    const value = {
      kernel: '${workspaceFolder}/${env:OUT}/k',
      disks: [{ file: '${userHome}/d' }],
      cpus: 2,
      x: '${env:NONE}',
    };
    assert.deepStrictEqual(substituteVariables(value, variables), {
      kernel: '/srv/me/kernel/build/k',
      disks: [{ file: '/srv/me/d' }],
      cpus: 2,
      x: '',
    });
    assert.strictEqual(substituteVariables('${workspaceFolderBasename}', variables), 'kernel');
  });
  it('refuses those that only the editor knows', () => {
    assert.throws(
      () => substituteVariables({ kernel: '${file}' }, variables),
      /\$\{file\} is only known inside VS Code/,
    );
  });
});
