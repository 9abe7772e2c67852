/** Bochs, of Debian's packages, from a boot disk. Debian builds it with its debugger, which is told to go on at once. */
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { bootDisk } from '../guestImage.mjs';
import { timedRun } from './timedRun.mjs';

const packages = "Debian: 'sudo apt-get install bochs bochs-term bochsbios vgabios'";
const [bios, vgaBios] = ['/usr/share/bochs/BIOS-bochs-latest', '/usr/share/bochs/VGABIOS-lgpl-latest'];

/** @type {import('./timedRun.mjs').Peer} */
export const bochs = {
  name: 'Bochs',
  async find() {
    const help = spawnSync('bochs', ['--help'], { encoding: 'utf8' });
    if (help.error || !existsSync(bios) || !existsSync(vgaBios))
      return { missing: `no Bochs with its BIOS (${packages})` };
    const version = /Bochs x86 Emulator (\S+)/.exec(help.stdout + help.stderr)?.[1] ?? 'of unknown version';
    return { version: `${version} as Debian builds it` };
  },
  run(image, folder) {
    const at = (name) => path.join(folder, name);
    const console = at('bochs.console');
    rmSync(console, { force: true });
    writeFileSync(at('bochs.disk'), bootDisk(image));
    writeFileSync(at('bochs.commands'), 'c\n');
    writeFileSync(
      at('bochs.configuration'),
      [
        'megs: 64',
        `romimage: file=${bios}`,
        `vgaromimage: file=${vgaBios}`,
        'display_library: term',
        'ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14',
        `ata0-master: type=disk, path="${at('bochs.disk')}", mode=flat, cylinders=1, heads=16, spt=63`,
        'boot: disk',
        `com1: enabled=1, mode=file, dev="${console}"`,
        'speaker: enabled=0',
        'panic: action=fatal',
        'error: action=ignore',
        'info: action=ignore',
        `log: "${at('bochs.log')}"`,
        '',
      ].join('\n'),
    );
    // -unlock: the run before was killed.
    const args = ['-q', '-unlock', '-f', at('bochs.configuration'), '-rc', at('bochs.commands')];
    return timedRun('bochs', args, { console, env: { TERM: 'xterm' } });
  },
};
