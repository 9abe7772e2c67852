import assert from 'node:assert/strict';
import { ModuleList, modulesOf } from '../../debug-adapter/modules';
import type { RuntimeSymbols } from '../../debug-adapter/symbols/runtimeSymbols';
import { storeOf } from './symbols/fixtures';

describe('modules', () => {
  it("are the files of symbols with their offsets, and the guest's own table", () => {
    const store = storeOf('demo-v5-O0.elf');
    const [file] = store.files;
    const list = new ModuleList();
    const [first] = list.changes(store);
    assert.deepEqual([first.reason, first.module.name], ['new', 'demo-v5-O0.elf']);
    assert.deepEqual(list.changes(store), []);

    file.setOffset(0x16400000n);
    const moved = list.changes(store);
    assert.deepEqual(moved.map(({ reason, module }) => [reason, module.id, module.symbolStatus]), [['changed', 0, 'Symbols loaded, offset 0x16400000']]); // prettier-ignore
    file.setOffset(-0x1000n);
    assert.match(modulesOf(store)[0].symbolStatus!, /offset -0x1000$/);

    store.runtime = { name: 'vmlinux (kallsyms)', status: '3 symbols' } as RuntimeSymbols;
    assert.deepEqual(list.changes(store).map(({ reason, module }) => [reason, module.name]), [['changed', 'demo-v5-O0.elf'], ['new', 'vmlinux (kallsyms)']]); // prettier-ignore
    store.runtime = { name: 'vmlinux (kallsyms)', status: '3 symbols, offset 0x16400000' } as RuntimeSymbols;
    assert.deepEqual(list.changes(store).map(({ reason, module }) => [reason, module.name]), [['changed', 'vmlinux (kallsyms)']]); // prettier-ignore
  });
});
