import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { classifyKernel, headerLength } from '../../src/kernelFile';

const root = path.resolve(__dirname, '../..');

/** A 64-bit ELF header with one program header of the given type. */
function elf64({ type = 2, machine = 62, segment = 1, phoff = 64n } = {}): Uint8Array {
  const bytes = new Uint8Array(headerLength);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, type, true);
  view.setUint16(18, machine, true);
  view.setBigUint64(32, phoff, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, segment, true);
  return bytes;
}

function sector(): Uint8Array {
  const bytes = new Uint8Array(headerLength);
  bytes.set([0x55, 0xaa], 510);
  return bytes;
}

describe('classifyKernel', () => {
  it('knows the sample kernel', () => {
    const file = readFileSync(path.join(root, 'samples/hello-guest/hello.elf'));
    assert.deepEqual(classifyKernel(file.subarray(0, headerLength)), { kind: 'elf', description: 'ELF, x86-64' });
  });

  it('knows Linux images and boot sectors', () => {
    assert.equal(classifyKernel(sector())?.kind, 'boot sector');
    assert.equal(classifyKernel(sector().subarray(0, 512))?.kind, 'boot sector');
    const linux = sector();
    linux.set(new TextEncoder().encode('HdrS'), 0x202);
    assert.equal(classifyKernel(linux)?.kind, 'linux');
  });

  it('takes neither programs for the host nor other processors', () => {
    assert.equal(classifyKernel(elf64())?.kind, 'elf');
    assert.equal(classifyKernel(elf64({ machine: 3 }))?.description, 'ELF, i386');
    assert.equal(classifyKernel(elf64({ segment: 3 })), undefined, 'PT_INTERP');
    assert.equal(classifyKernel(elf64({ machine: 183 })), undefined, 'AArch64');
    assert.equal(classifyKernel(elf64({ type: 1 })), undefined, 'relocatable');
    assert.equal(classifyKernel(readFileSync(process.execPath).subarray(0, headerLength)), undefined, 'node itself');
  });

  it('survives offsets that lie and files that end early', () => {
    assert.equal(classifyKernel(elf64({ phoff: 0xffffffffffffffffn }))?.kind, 'elf');
    for (let length = 0; length < 130; length++) classifyKernel(elf64().slice(0, length));
    assert.equal(classifyKernel(new Uint8Array()), undefined);
  });
});
