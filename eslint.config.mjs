// The import rules below are the architecture: src -> (DAP only) -> debug-adapter -> Target -> emulator-core.
import tseslint from 'typescript-eslint';

// A pattern without a slash also forbids folders of that name; '/net' is the module only.
const nodeBuiltins = {
  group: [
    ...['node:*', 'assert', 'buffer', 'child_process', 'crypto', 'events', 'fs', 'fs/*', 'http', '/net', 'os', 'path'],
    ...['perf_hooks', 'process', 'stream', 'timers', 'tty', 'url', 'util', 'v8', 'vm', 'worker_threads', 'zlib'],
  ],
  message:
    'Portable code has no Node built-ins; in the adapter they belong to the entry points (main.ts, cli.ts, node/).',
};
const vscode = { group: ['vscode'], message: 'Only src/ knows the editor.' };

/** Imports from a folder of the project, however many levels up it is, but for some of its files. */
const from = (folder, message, except = []) => ({
  regex: `\\.\\./${folder}(/(?!(${except.join('|') || '$.'})$)|$)`,
  message,
});

/** Rules for the files of one part. `no-restricted-imports` of a later part replaces an earlier one's. */
const part = (files, patterns, ignores = []) => ({
  files,
  ignores,
  rules: { 'no-restricted-imports': ['error', { patterns }] },
});

const noEditorSide = from('src', 'The adapter and the core know nothing of the editor side.');
const noAdapter = from('debug-adapter', 'emulator-core knows nothing above it.');
const throughTarget = from('emulator-core', 'Engines implement Target; all else in the adapter works through Target.', [
  'index',
  'fields',
  'boot/byteSource',
  'boot/elf',
  'boot/linuxSetupHeader',
  'devices/screen',
  'guest/hypercallInfo',
  'inflate',
  'platformZlib',
  'disk/image',
  'net/addresses',
  'net/bytes',
  'x86/disassembler',
]);

export default tseslint.config(
  { ignores: ['out/**', 'node_modules/**', 'test/artifacts/**', '.vscode-test/**', 'samples/linux/build/**'] },
  ...tseslint.configs.recommended,
  {
    rules: {
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/no-non-null-assertion': 'off',
    },
  },
  {
    files: ['**/*.cjs'],
    rules: { '@typescript-eslint/no-require-imports': 'off' },
  },
  part(['emulator-core/**/*.ts'], [nodeBuiltins, vscode, noEditorSide, noAdapter]),
  part(['debug-adapter/**/*.ts'], [nodeBuiltins, vscode, noEditorSide, throughTarget]),
  part(['debug-adapter/engines/**/*.ts'], [nodeBuiltins, vscode, noEditorSide]),
  part(['debug-adapter/main.ts', 'debug-adapter/cli.ts', 'debug-adapter/node/**/*.ts'], [vscode, noEditorSide]),
  part(
    ['src/**/*.ts'],
    [
      from('emulator-core', 'The editor side talks DAP.'),
      from('debug-adapter', 'The editor side talks DAP; only protocol.ts is shared.', ['protocol']),
    ],
  ),
  {
    files: ['emulator-core/**/*.ts'],
    rules: {
      'no-restricted-globals': ['error', 'process', 'Buffer', 'setTimeout', 'setInterval', 'performance', 'require'],
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: 'no clock in emulator-core' },
        { object: 'Math', property: 'random', message: 'no randomness in emulator-core' },
      ],
    },
  },
);
