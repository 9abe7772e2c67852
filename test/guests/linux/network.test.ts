/**
 * Debian's cloud kernel and busybox on the user-mode network: DHCP, DNS, ping, HTTP against a server of this process, forwarded ports,
 * sockets of virtio-vsock, going back in the middle of a download. The kernel's drivers come from the sample's initramfs.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { COMMANDS, exchange, freePort, Guest } from './guest';
import { vsockProgram, withInit } from './initramfs';
import { linuxKernel, sampleInitrd } from './kernel';

const TIMEOUT = 600_000;
const INIT = `
ip link set lo up
ip link set eth0 up
udhcpc -i eth0 -n -q -s /lease && echo READY
${COMMANDS}`;
const LEASE = `#!/bin/busybox sh
[ "$1" = bound ] || exit 0
ip addr add $ip/24 dev eth0
ip route add default via $router
echo nameserver $dns > /etc/resolv.conf
echo "lease: $ip/$mask router $router dns $dns server $serverid"
`;
/** Without zero bytes, which busybox's wget does not post. */
const FILE = Buffer.from(Uint8Array.from({ length: 4 << 20 }, (_, i) => 1 + (((i * 7) >> 3) % 255)));
const md5 = (data: Uint8Array): string => createHash('md5').update(data).digest('hex');

describe("a network for Debian's cloud kernel", function () {
  this.timeout(TIMEOUT);
  let folder = '';
  let server: Server;
  let guest: Guest;
  let port: number;
  let forwarded: number;
  let vsockForwarded: number;
  let closed: number;
  /** Requests for the file that stop in its middle. */
  const halves: { response: ServerResponse; release: () => void }[] = [];
  let arrived = (): void => undefined;

  function answer(request: IncomingMessage, response: ServerResponse): void {
    if (request.method === 'POST') {
      const hash = createHash('md5');
      request.on('data', (data: Uint8Array) => hash.update(data));
      request.on('end', () => response.end(`${hash.digest('hex')}\n`));
    } else if (request.url === '/half') {
      response.writeHead(200, { 'content-length': FILE.length });
      response.write(FILE.subarray(0, FILE.length / 2));
      halves.push({ response, release: () => response.end(FILE.subarray(FILE.length / 2)) });
      response.on('error', () => undefined);
      arrived();
    } else response.end(FILE);
  }

  before(async function () {
    const kernel = linuxKernel(this);
    const sample = readFileSync(sampleInitrd(this));
    folder = mkdtempSync(path.join(tmpdir(), 'ringside-network-'));
    const initrd = path.join(folder, 'initrd');
    writeFileSync(initrd, withInit(sample, INIT, { lease: Buffer.from(LEASE), vsock: vsockProgram() }));
    server = createServer(answer).listen(0, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as { port: number });
    [forwarded, vsockForwarded, closed] = [await freePort(), await freePort(), await freePort()];
    guest = await Guest.launch({
      ...{ kernel, initrd, memory: '256M', cmdline: 'console=ttyS0 quiet cryptomgr.notests', stopOnEntry: false },
      network: { ports: [port, closed], forward: [{ host: forwarded, guest: 2222 }] },
      vsock: { ports: [port], forward: [{ host: vsockForwarded, guest: 1024 }] },
    });
    guest.go();
    await guest.until(/READY/);
  });
  after(async () => {
    guest?.target.dispose();
    if (server) await new Promise((resolve) => server.close(resolve).closeAllConnections());
    if (folder) rmSync(folder, { recursive: true });
  });

  it('gives a lease to udhcpc', () => {
    assert.match(guest.output, /lease: 10\.0\.2\.15\/24 router 10\.0\.2\.2 dns 10\.0\.2\.3 server 10\.0\.2\.2/);
  });

  it('answers ping and names, and refuses what is not to be reached at once', async () => {
    assert.match(await guest.command('ping -c 2 -W 1 10.0.2.2'), /2 packets received, 0% packet loss[^]*\[status 0\]$/);
    assert.match(await guest.command('ping -c 1 -W 1 8.8.8.8'), /0 packets received/);
    assert.match(await guest.command('nslookup host'), /Name:\s+host\s+Address: 10\.0\.2\.2/);
    assert.match(await guest.command('nslookup example.com'), /can't find example\.com: NXDOMAIN/);
    for (const to of ['10.0.2.2:9', `10.0.2.2:${closed}`, '93.184.216.34:80'])
      assert.match(await guest.command(`wget -q -O - http://${to}/`), /Connection refused\n\[status 1\]$/);
  });

  it('downloads and uploads', async () => {
    const started = performance.now();
    assert.match(await guest.command(`wget -q -O /tmp/f http://10.0.2.2:${port}/file`), /^\[status 0\]$/);
    const middle = performance.now();
    assert.ok((await guest.command('md5sum /tmp/f')).startsWith(md5(FILE)));
    const checked = performance.now();
    const posted = await guest.command(`wget -q -O - --post-file=/tmp/f http://10.0.2.2:${port}/`);
    assert.equal(posted, `${md5(FILE)}\n[status 0]`);
    const speed = (ms: number): string => `${(FILE.length / 1048.576 / ms).toFixed(1)} MB/s`;
    if (process.env.RINGSIDE_NETWORK_SPEED)
      console.log(`      down ${speed(middle - started)}, up ${speed(performance.now() - checked)}`);
  });

  it('is reached through a forwarded port', async () => {
    const from = guest.type('echo LISTENING; nc -l -p 2222 -e sh -c "cat | md5sum"');
    await guest.until(/LISTENING/, from);
    const answered = await exchange(forwarded, FILE.subarray(0, 300_000));
    assert.ok(answered.startsWith(md5(FILE.subarray(0, 300_000))), answered);
    await guest.until(/\[status \d+\]/, from);
  });

  it('reaches, and is reached, through vsock', async () => {
    guest.type('/vsock 1024 &');
    const text = 'over vsock '.repeat(20_000);
    assert.equal(await exchange(vsockForwarded, text), text);
    const asked = await guest.command(`/vsock ${port} "$(printf 'no request\\r\\n\\r\\n.')"`);
    assert.match(asked, /HTTP\/1\.1 400 Bad Request[^]*\[status 0\]$/);
    assert.match(await guest.command(`/vsock ${closed} x`), /\[status 104\]$/, 'ECONNRESET: no port of CID 2');
  });

  const middle = async (): Promise<number> => {
    const asked = new Promise<void>((resolve) => (arrived = resolve));
    const from = guest.type(`wget -q -O /tmp/h http://10.0.2.2:${port}/half`);
    await asked;
    await guest.pause();
    return from;
  };

  it('goes back in the middle of a download, which then goes on', async () => {
    const from = await middle();
    const at = guest.target.icount();
    await guest.run({ kind: 'stepBackInstructions', count: 1000 });
    assert.equal(guest.target.icount(), at - 1000);
    guest.go();
    halves.pop()!.release();
    assert.match(await guest.until(/\[status \d+\]/, from), /\[status 0\]$/);
    assert.ok((await guest.command('md5sum /tmp/h')).startsWith(md5(FILE)));
  });

  it('resets connections when the past is changed, and goes on', async () => {
    await middle();
    await guest.run({ kind: 'stepBackInstructions', count: 1000 });
    const from = guest.output.length;
    guest.target.consoleInput(Buffer.from('\n'));
    guest.go();
    assert.match(await guest.until(/\[status \d+\][^]*\[status 0\]/, from), /reset by peer[^]*\[status 1\]/); // and that of the empty line
    assert.match(await guest.command(`wget -q -O /tmp/g http://10.0.2.2:${port}/file`), /\[status 0\]$/);
    assert.ok((await guest.command('md5sum /tmp/g')).startsWith(md5(FILE)));
  });

  it('shows lease and connections', () => {
    const devices = JSON.stringify(guest.target.devices());
    assert.match(devices, /"DHCP lease","value":"10\.0\.2\.15","text":"52:54:00:12:34:56, bound"/);
  });
});
