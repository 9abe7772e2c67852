/** package.json against itself: ids that one part names exist in another. */
import assert from 'node:assert';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(__dirname, '../..');
const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
const { contributes } = manifest;
const commands = new Set<string>(contributes.commands.map((one: { command: string }) => one.command));
const views = new Set<string>(contributes.views.debug.map((view: { id: string }) => view.id));

describe('package.json', () => {
  it('has menus for commands that exist', () => {
    for (const [menu, items] of Object.entries<{ command: string }[]>(contributes.menus)) {
      for (const item of items) assert.ok(commands.has(item.command), `${menu}: ${item.command}`);
    }
  });

  it('welcomes to views that exist', () => {
    for (const { view } of contributes.viewsWelcome) assert.ok(views.has(view), view);
  });

  it('names files that exist', () => {
    const files: string[] = [
      ...contributes.grammars.map((grammar: { path: string }) => grammar.path),
      ...contributes.languages.map((language: { configuration: string }) => language.configuration),
      ...contributes.views.debug.map((view: { icon: string }) => view.icon),
      ...contributes.walkthroughs[0].steps.map((step: { media: { markdown: string } }) => step.media.markdown),
    ];
    for (const file of files) assert.ok(existsSync(path.join(root, file)), file);
  });

  it('registers every command in src/', () => {
    const sources = [
      'launch.ts',
      'exitPlace.ts',
      'snapshots.ts',
      'extension.ts',
      'views/display.ts',
      'views/vmExits.ts',
      'views/paging.ts',
    ]
      .map((file) => readFileSync(path.join(root, 'src', file), 'utf8'))
      .join('\n');
    for (const command of commands) {
      const perView = command.replace(/^ringside\.(ept|pageTables)/, '${what.id}');
      assert.ok(sources.includes(`'${command}'`) || sources.includes(`\`${perView}\``), command);
    }
  });

  it('starts with the debugger and its views alone', () => {
    assert.ok(
      manifest.activationEvents.every((event: string) =>
        /^onDebug(Resolve|DynamicConfigurations):ringside$/.test(event),
      ),
    );
  });

  it('describes every launch attribute, and gives enums a line for each value', () => {
    const visit = (schema: Record<string, unknown>, where: string) => {
      if (schema.enum) {
        const lines = (schema.enumDescriptions as string[]) ?? [];
        assert.equal(lines.length, (schema.enum as string[]).length, where);
      }
      for (const part of (schema.anyOf as Record<string, unknown>[]) ?? []) visit(part, where);
      if (schema.items) visit(schema.items as Record<string, unknown>, `${where}[]`);
      for (const [name, part] of Object.entries((schema.properties as object) ?? {})) {
        assert.ok(part.markdownDescription || part.description, `${where}.${name}`);
        visit(part, `${where}.${name}`);
      }
    };
    const { launch, attach } = contributes.debuggers[0].configurationAttributes;
    visit(launch, 'launch');
    visit(attach, 'attach');
    const documented =
      'kernel initrd cmdline boot disks memory cpus mode cpu domains engine symbols sourceMap stopOnEntry exits record console gdbServer from snapshot';
    for (const name of documented.split(' ')) assert.ok(name in launch.properties, name);
  });

  it('takes sizes with K, M and G', () => {
    const pattern = new RegExp(contributes.debuggers[0].configurationAttributes.launch.properties.memory.pattern);
    for (const good of ['256M', '1G', '65536', '0x1000000', '64 M', '512k', '1GiB']) assert.match(good, pattern);
    for (const bad of ['', '-1', '256X', 'M', '1.5G']) assert.doesNotMatch(bad, pattern);
  });

  it('takes breakpoints in C and assembly', () => {
    const languages = contributes.breakpoints.map((one: { language: string }) => one.language);
    for (const language of ['c', 'cpp', 'rust', 'zig', 'asm', 'nasm', 'gas']) assert.ok(languages.includes(language));
  });
});
