/** Grammars: each line below is source text and, for some of its words, the scope that a colour theme sees. */
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createOnigScanner, createOnigString, loadWASM } from 'vscode-oniguruma';
import { INITIAL, Registry, parseRawGrammar, type IGrammar } from 'vscode-textmate';

const root = path.resolve(__dirname, '../..');
const grammars: { scopeName: string; path: string }[] = JSON.parse(
  readFileSync(path.join(root, 'package.json'), 'utf8'),
).contributes.grammars;

async function load(scopeName: string): Promise<IGrammar> {
  const registry = new Registry({
    onigLib: Promise.resolve({ createOnigScanner, createOnigString }),
    loadGrammar: async (scope) => {
      const file = grammars.find((grammar) => grammar.scopeName === scope)?.path;
      return file ? parseRawGrammar(readFileSync(path.join(root, file), 'utf8'), file) : null;
    },
  });
  return (await registry.loadGrammar(scopeName))!;
}

type Expectation = [line: string, ...words: [word: string, scope: string][]];

/** Checks the innermost scope's beginning at the first place of each word. Lines are tokenized one after another. */
function check(grammar: IGrammar, lines: Expectation[]): void {
  let state = INITIAL;
  for (const [line, ...words] of lines) {
    const { tokens, ruleStack } = grammar.tokenizeLine(line, state);
    state = ruleStack;
    let from = 0;
    for (const [word, scope] of words) {
      const at = line.indexOf(word, from);
      assert.ok(at >= 0, `'${word}' in '${line}'`);
      from = at + word.length;
      const token = tokens.find((one) => one.startIndex <= at && at < one.endIndex)!;
      assert.ok(
        token.scopes.at(-1)!.startsWith(scope),
        `'${word}' in '${line}': ${token.scopes.join(' ')}, not ${scope}`,
      );
      const whole = token.endIndex >= at + word.length;
      assert.ok(whole, `'${word}' in '${line}' is one token`);
    }
  }
}

describe('grammars', () => {
  before(async () => {
    await loadWASM(readFileSync(require.resolve('vscode-oniguruma/release/onig.wasm')));
  });

  it('NASM', async () => {
    check(await load('source.asm.x86.nasm'), [
      ['bits 64', ['bits', 'keyword.other.directive'], ['64', 'constant.numeric.decimal']],
      ['section .text ; code', ['section', 'keyword.other.directive'], ['; code', 'comment.line']],
      [
        '_start:  mov rax, 0x1000',
        ['_start', 'entity.name.function'],
        ['mov', 'keyword.operator.word.mnemonic'],
        ['rax', 'variable.language.register'],
        ['0x1000', 'constant.numeric.hex'],
      ],
      ['    mov cr3, rax', ['cr3', 'variable.language.register']],
      ['    wrmsr', ['wrmsr', 'keyword.other.system']],
      ['    rep movsb', ['rep', 'keyword.control.prefix'], ['movsb', 'keyword.operator.word.mnemonic']],
      ['    jnz .again', ['jnz', 'keyword.control.flow']],
      [
        '    mov byte [rdi + 4*rcx], 0b1010',
        ['byte', 'storage.modifier'],
        ['[', 'punctuation'],
        ['0b1010', 'constant.numeric.binary'],
      ],
      [
        "msg: db 'hi', 13, 10, 0",
        ['msg', 'entity.name.function'],
        ['db', 'storage.type'],
        ["'", 'string.quoted.single'],
      ],
      [
        'PORT equ 3f8h',
        ['PORT', 'entity.name.constant'],
        ['equ', 'keyword.other.directive'],
        ['3f8h', 'constant.numeric.hex'],
      ],
      ['%macro outb 2', ['%macro', 'keyword.control.directive'], ['outb', 'entity.name.function']],
      ['    mov al, %1', ['%1', 'variable.parameter']],
      ['%endmacro', ['%endmacro', 'keyword.control.directive']],
      ['times 510-($-$$) db 0', ['times', 'storage.type'], ['$', 'variable.language.position'], ['db', 'storage.type']],
    ]);
  });

  it('GAS', async () => {
    check(await load('source.asm.x86.gas'), [
      ['#include "layout.h"', ['#include', 'keyword.control.import'], ['"layout.h"', 'string.quoted.double']],
      ['# a comment', ['# a comment', 'comment.line']],
      ['    .globl _start', ['.globl', 'keyword.other.directive'], ['_start', 'entity.name.function']],
      [
        '_start: movq $0x1000, %rax # cr3',
        ['_start', 'entity.name.function'],
        ['movq', 'keyword.operator.word.mnemonic'],
        ['$', 'keyword.operator.immediate'],
        ['0x1000', 'constant.numeric.hex'],
        ['%rax', 'variable.language.register'],
        ['# cr3', 'comment.line'],
      ],
      ['    mov %rax, %cr3', ['%rax', 'variable.language.register'], ['%cr3', 'variable.language.register']],
      ['    outb %al, $0xf4', ['outb', 'keyword.other.system']],
      ['    vmcall', ['vmcall', 'keyword.other.system']],
      ['    .long MULTIBOOT_FLAGS', ['MULTIBOOT_FLAGS', 'source.asm.x86.gas']],
      ['    jmp 1b', ['jmp', 'keyword.control.flow'], ['1b', 'constant.other.label']],
      ['    .quad 0, 1 /* two', ['.quad', 'storage.type'], ['/*', 'comment.block']],
      ['  words */ .byte 1', ['words ', 'comment.block'], ['.byte', 'storage.type']],
      ['    .asciz "hi\\n"', ['.asciz', 'storage.type'], ['\\n', 'constant.character.escape']],
      ['.macro stub vector', ['.macro', 'keyword.control.directive'], ['stub', 'entity.name.function']],
      ['    push $\\vector', ['\\vector', 'variable.parameter']],
      ['    iretq', ['iretq', 'keyword.control.flow']],
    ]);
  });

  it('exit traces, as JSON lines and as text', async () => {
    check(await load('source.ringside-exits'), [
      [
        '{"seq":7,"name":"CPUID","rip":"0x100200","summary":"CPUID leaf 0x0"}',
        ['7', 'constant.numeric'],
        ['"CPUID"', 'entity.name.function.exit'],
        ['"0x100200"', 'constant.numeric.address'],
        ['"CPUID leaf 0x0"', 'string.quoted.double'],
      ],
      ['#7 IO_INSTRUCTION out 0x3f8 <- 0x41', ['#7', 'comment']],
      [
        '7 IO_INSTRUCTION out 0x3f8 <- 0x41',
        ['7', 'constant.numeric'],
        ['IO_INSTRUCTION', 'entity.name.function.exit'],
        ['0x3f8', 'constant.numeric.hex'],
        ['<-', 'keyword.operator'],
      ],
    ]);
  });

  it('disassembly of an exit', async () => {
    check(await load('source.ringside-disassembly'), [
      ['; VM exit #7', ['; VM exit', 'comment.line']],
      ['main+0x4:', ['main+0x4', 'entity.name.function']],
      [
        '=> 0x100002  0f a2        cpuid',
        ['=>', 'markup'],
        ['0x100002', 'constant.numeric.address'],
        ['0f a2', 'comment.other'],
        ['cpuid', 'keyword'],
      ],
      [
        '   0x100004  48 89 d8     mov rax,rbx',
        ['mov', 'keyword.operator.word.mnemonic'],
        ['rax', 'variable.language.register'],
      ],
    ]);
  });
});
