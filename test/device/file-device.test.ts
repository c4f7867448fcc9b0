import { spawn } from 'node:child_process';
import { chmodSync, closeSync, readFileSync, symlinkSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { isRemapError, type RemapError } from '../../src/core/errors.js';
import { LOCK_WAIT_MS } from '../../src/core/limits.js';
import { openDevices } from '../../src/device/device-set.js';
import { FileDevice } from '../../src/device/file-device.js';
import { sparseFile } from '../fixtures/daemon.js';
import { socketPair } from '../fixtures/front-end.js';
import { tempDirectory } from '../fixtures/temp-directory.js';

const MIB = 1024 * 1024;
const WRITE = { readOnly: false, exclusive: true };

function file(t: Test, bytes: number): string {
  return sparseFile(join(tempDirectory(t), 'disk.img'), bytes);
}

function openFails(path: string, options = WRITE): RemapError {
  try {
    FileDevice.open(path, options).native.close();
  } catch (e) {
    if (isRemapError(e)) return e;
    throw e;
  }
  throw new Error(`${path} could be opened`);
}

t.test('reads and writes any buffer at any sector, durably', async (t) => {
  const path = file(t, MIB);
  const device = FileDevice.open(path, WRITE);
  t.equal(device.sizeSectors, 2048);
  t.equal(device.path, path);
  t.equal(device.isBlockDevice, false);
  const odd = Buffer.alloc(1537).subarray(1);
  odd.fill(7);
  await device.write(odd, 512 * 3);
  await device.flush();
  const back = Buffer.alloc(1536);
  await device.read(back, 512 * 3);
  t.ok(back.equals(odd));
  await device.close();
  t.ok(readFileSync(path).subarray(1536, 3072).equals(odd));
});

t.test('an error names device, sectors, errno and what to do', async (t) => {
  const path = file(t, MIB);
  const device = FileDevice.open(path, WRITE);
  t.teardown(() => device.close());
  const rule = {
    kind: 'read-error',
    lba: 9,
    count: 1,
    times: 0,
    delayMs: 0,
    errno: 5,
    perMillion: 1e6,
  } as const;
  device.native.addFault(rule);
  await t.rejects(device.read(Buffer.alloc(4096), 8 * 512), {
    code: 'DEVICE_IO',
    message: /read failed at sector 8 \(8 sectors\) with EIO: the medium is failing/,
    context: { device: path, operation: 'read', lba: 8, count: 8, errno: 'EIO' },
  });
  truncateSync(path, 4096);
  await t.rejects(device.read(Buffer.alloc(4096), 512 * 1024), {
    code: 'DEVICE_IO',
    message: /ENXIO: the device has gone or has become shorter/,
  });
});

t.test('says why a device cannot be opened', async (t) => {
  const directory = tempDirectory(t);
  const missing = openFails(join(directory, 'none.img'));
  t.equal(missing.code, 'DEVICE_OPEN');
  t.match(missing.message, /none\.img: there is nothing at this path; check it\.$/);
  t.equal(missing.context.errno, 'ENOENT');
  t.match(openFails(directory).message, /it is a directory; name a file or a block device/);
  t.match(openFails('/dev/null').message, /neither a file nor a block device/);
  t.match(openFails('null:many').message, /its size cannot be told/);
});

t.test('needs permission', async (t) => {
  const path = file(t, MIB);
  chmodSync(path, 0o400);
  if (process.getuid?.() === 0) console.log('SKIP a user other than root');
  else t.match(openFails(path).message, /you may not open it/);
  const device = FileDevice.open(path, { readOnly: true, exclusive: true });
  t.equal(device.readOnly, true);
  await device.close();
});

t.test('a held device is refused, and free again after close', async (t) => {
  const path = file(t, MIB);
  const holder = FileDevice.open(path, WRITE);
  const refused = openFails(path);
  t.equal(refused.code, 'DEVICE_BUSY');
  t.match(refused.message, /is held by another process; stop what uses it/);
  const reader = FileDevice.open(path, { readOnly: true, exclusive: false });
  await reader.close();
  await holder.close();
  await FileDevice.open(path, WRITE).close();
});

/** Opens `path`, sends the descriptor away on 3, and dies. */
const LEAVE_BEHIND = (path: string): string => `
  import { readdirSync, readlinkSync, existsSync } from 'node:fs';
  import { FileDevice } from '${new URL('../../src/device/file-device.js', import.meta.url)}';
  import { FrontEnd } from '${new URL('../fixtures/front-end.js', import.meta.url)}';
  globalThis.held = FileDevice.open('${path}', { readOnly: false, exclusive: true });
  const link = (fd) => '/proc/self/fd/' + fd;
  const fd = readdirSync('/proc/self/fd').find((name) => {
    return existsSync(link(name)) && readlinkSync(link(name)) === '${path}';
  });
  const sender = new FrontEnd({ timeoutMs: 1 });
  await sender.connect(3).catch(() => undefined);
  await sender.sendRaw(Buffer.alloc(1), [Number(fd)]);
  process.kill(process.pid, 'SIGKILL');
`;

t.test('what nobody living holds is waited for', async (t) => {
  const path = file(t, MIB);
  // Sent and not received: open, locked, and in nobody's hands, as what a killed process leaves.
  const [near, far] = socketPair();
  const script = ['--input-type=module', '-e', LEAVE_BEHIND(path)];
  const killed = spawn(process.execPath, script, { stdio: ['ignore', 'inherit', 'inherit', near] });
  closeSync(near);
  const signal = await new Promise((resolve) => killed.once('exit', (_, name) => resolve(name)));
  t.equal(signal, 'SIGKILL');
  const begunMs = performance.now();
  const keeper = spawn('sleep', ['1.6'], { stdio: ['ignore', 'ignore', 'ignore', far] });
  t.teardown(() => keeper.kill());
  closeSync(far);
  await FileDevice.open(path, WRITE).close();
  t.ok(performance.now() - begunMs > LOCK_WAIT_MS, 'for longer than for somebody who is there');
});

t.test('a null device has a size and keeps nothing', async (t) => {
  const device = FileDevice.open('null:1M', WRITE);
  t.equal(device.sizeSectors, 2048);
  t.equal(device.isNull, true);
  await device.write(Buffer.alloc(512, 1), 0);
  const back = Buffer.alloc(512, 2);
  await device.read(back, 0);
  t.ok(back.equals(Buffer.alloc(512)));
  await device.close();
});

t.test('main and spares are opened together, or none', async (t) => {
  const directory = tempDirectory(t);
  const main = sparseFile(join(directory, 'main.img'), MIB);
  const spare = sparseFile(join(directory, 'spare.img'), 8 * MIB);
  const open = (mainPath: string, ...sparePaths: string[]) =>
    openDevices({ mainPath, sparePaths, readOnly: false });
  await t.rejects(open(main, join(directory, 'none.img')), { code: 'DEVICE_OPEN' });
  await t.rejects(open(main, main), { code: 'SAME_DEVICE', message: /is named twice/ });
  const link = join(directory, 'link.img');
  symlinkSync(main, link);
  await t.rejects(open(main, link), {
    code: 'SAME_DEVICE',
    message: /link\.img and .*main\.img are the same device/,
  });
  await t.rejects(open(main, spare, spare), { code: 'SAME_DEVICE' });
  await t.rejects(open('null:1G', spare), { code: 'USAGE' });
  await t.rejects(open(main, 'null:1G'), { code: 'USAGE' });
  const devices = await open(main, spare);
  t.equal(devices.main.path, main);
  t.same(
    devices.spares.map((device) => device.path),
    [spare],
  );
  await devices.close();
  const again = await open(main, spare);
  await again.close();
});
