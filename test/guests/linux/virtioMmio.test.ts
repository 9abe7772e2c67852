/**
 * Debian's cloud kernel with a disk, a network and a socket device over MMIO, which it finds by ACPI: its virtio_mmio takes none on the
 * command line (CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES). Then a snapshot with a socket open.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { nodeHost } from '../../../debug-adapter/node/host';
import { writeSnapshot } from '../../../debug-adapter/snapshotFiles';
import type { Field } from '../../../emulator-core/fields';
import { COMMANDS, exchange, freePort, Guest } from './guest';
import { vsockProgram, withInit } from './initramfs';
import { linuxKernel, sampleInitrd } from './kernel';

const INIT = `
mount -t devtmpfs dev /dev
ip link set lo up
ip link set eth0 up
echo READY
${COMMANDS}`;
/** Linux, include/uapi/asm-generic/errno.h. */
const ECONNRESET = 104;
/** Linux, net/vmw_vsock/virtio_transport.c: the driver keeps eight buffers in the event queue. */
const EVENT_BUFFERS = 8;

describe("virtio over MMIO for Debian's cloud kernel", function () {
  this.timeout(600_000);
  let folder = '';
  let server: Server;
  let configuration: Record<string, unknown>;
  let forwarded: number;
  let port: number;
  const guests: Guest[] = [];
  const launch = async (more: object = {}): Promise<Guest> => {
    const guest = await Guest.launch({ ...configuration, ...more });
    guests.push(guest);
    guest.go();
    return guest;
  };

  before(async function () {
    const kernel = linuxKernel(this);
    const sample = readFileSync(sampleInitrd(this));
    folder = mkdtempSync(path.join(tmpdir(), 'ringside-mmio-'));
    const [initrd, disk] = ['initrd', 'disk.img'].map((name) => path.join(folder, name));
    writeFileSync(initrd, withInit(sample, INIT, { vsock: vsockProgram() }));
    writeFileSync(disk, Buffer.alloc(1 << 20, 'Ringside '));
    server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (data) => socket.write(data));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo);
    forwarded = await freePort();
    configuration = {
      ...{ kernel, initrd, memory: '256M', cmdline: 'console=ttyS0 quiet cryptomgr.notests', stopOnEntry: false },
      disks: [{ file: disk, bus: 'virtio-mmio' }],
      network: { bus: 'virtio-mmio' },
      vsock: { bus: 'virtio-mmio', ports: [port], forward: [{ host: forwarded, guest: 1024 }] },
    };
    await (await launch()).until(/READY/);
  });
  after(async () => {
    for (const { target } of guests) target.dispose();
    if (server) await new Promise((resolve) => server.close(resolve));
    if (folder) rmSync(folder, { recursive: true });
  });

  it('is found, each device with its interrupt', async () => {
    const [guest] = guests;
    const listed = await guest.command('ls /sys/bus/virtio/drivers/*/virtio*/ -d; grep virtio /proc/interrupts');
    for (const driver of ['virtio_blk', 'virtio_net', 'vmw_vsock_virtio_transport'])
      assert.match(listed, new RegExp(`drivers/${driver}/virtio\\d`));
    for (const irq of [5, 6, 7])
      assert.match(listed, new RegExp(`^ *${irq}: +\\d+ +IO-APIC +${irq}-fasteoi +virtio\\d$`, 'm'));
  });

  it('has the disk and the network', async () => {
    const [guest] = guests;
    assert.match(await guest.command('dd if=/dev/vda bs=9 count=1 2>/dev/null; echo'), /^Ringside \n/);
    assert.match(await guest.command('udhcpc -i eth0 -n -q -s /bin/true'), /lease of 10\.0\.2\.15 obtained/);
    const configured = 'ip addr add 10.0.2.15/24 dev eth0; ping -c 1 -W 1 10.0.2.2';
    assert.match(await guest.command(configured), /1 packets received, 0% packet loss/);
  });

  it('has sockets, forwarded ones and its own', async () => {
    const [guest] = guests;
    guest.type('/vsock 1024 &');
    const text = 'over vsock '.repeat(20_000);
    assert.equal(await exchange(forwarded, text), text);
    const from = guest.type(`/vsock ${port} open`);
    await guest.until(/open/, from);
  });

  it('ends its connections when it starts from a snapshot, and listens on', async () => {
    const [guest] = guests;
    await guest.pause();
    const file = path.join(folder, 'open.snapshot');
    await writeSnapshot(nodeHost, file, guest.target);
    guest.target.dispose();
    // Of another CID the driver only knows because the event tells it to look.
    const second = await launch({ from: file, vsock: { ...(configuration.vsock as object), cid: 9 } });
    await second.until(new RegExp(`\\[status ${ECONNRESET}\\]`));
    assert.equal(await exchange(forwarded, 'again'), 'again');
    // The event was taken, and its buffer given back.
    const device = second.target.devices().find(({ name }) => name === 'vsock0') as Field;
    const queue = device.children!.find(({ text }) => text?.startsWith('event'))!;
    assert.equal(queue.text, `event, ${EVENT_BUFFERS} waiting`);
    assert.equal(queue.children!.find(({ name }) => name === 'next used')!.value, '0x0001');
  });
});
