import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  compareIdentity,
  type DeviceIdentity,
  identify,
  identifyBlock,
  nodeKey,
} from '../../src/device/identity.js';

const block = (identity: string, sizeSectors = 100): DeviceIdentity => ({
  kind: 'block',
  sizeSectors,
  identity,
});
const file = (identity: string, sizeSectors = 100): DeviceIdentity => ({
  kind: 'file',
  sizeSectors,
  identity,
});

t.test('grades what is found against what was recorded', async (t) => {
  const grade = (a: DeviceIdentity, b: DeviceIdentity) => compareIdentity(a, b).grade;
  t.equal(grade(block('wwn:1'), block('wwn:1')), 'strong');
  t.equal(grade(block('wwn:1'), block('wwn:2')), 'mismatch', 'another disk');
  t.equal(grade(block('wwn:1'), block('serial:2')), 'weak', 'not to be compared');
  t.equal(grade(block('wwn:1'), block('')), 'weak');
  t.equal(grade(block(''), block('wwn:1')), 'weak');
  t.equal(grade(block(''), block('')), 'weak');
  t.equal(grade(file('file:1:2'), file('file:1:2')), 'strong');
  t.equal(grade(file('file:1:2'), file('file:1:3')), 'weak', 'a file may be copied');
  t.equal(grade(file('file:1:2'), block('wwn:1')), 'weak', 'an image may go to a disk');
  t.equal(grade(block('wwn:1', 100), block('wwn:1', 99)), 'mismatch', 'size above all');
  t.equal(grade(file('file:1:2', 100), file('file:1:2', 200)), 'mismatch');
});

t.test('gives its reasons in words', async (t) => {
  t.same(compareIdentity(block('wwn:1'), block('wwn:2')).reasons, [
    'its size of 100 sectors agrees',
    'its identifier is wwn:2, not wwn:1',
  ]);
  t.same(compareIdentity(file('file:1:2', 8), file('file:1:2', 9)).reasons, [
    'it has 9 sectors, not 8',
  ]);
});

t.test('a file is known by its device and inode, through links too', async (t) => {
  const dir = t.testdir({ 'a.img': 'x' });
  const path = join(dir, 'a.img');
  const link = join(dir, 'link.img');
  symlinkSync(path, link);
  const { dev, ino } = statSync(path);
  const identity = { kind: 'file', sizeSectors: 8, identity: `file:${dev}:${ino}` };
  t.same(await identify(path, 8), identity);
  t.same(await identify(link, 8), identity);
  t.equal(await nodeKey(path), await nodeKey(link));
  copyFileSync(path, join(dir, 'b.img'));
  t.not(await nodeKey(path), await nodeKey(join(dir, 'b.img')));
  await t.rejects(identify(join(dir, 'none'), 8), { code: 'ENOENT' });
});

/** /sys and /dev of a machine with one disk and one partition. */
function machine(
  dir: string,
  disk: Record<string, string>,
  links: Record<string, string> = {},
): { sys: string; dev: string } {
  const home = join(dir, 'sys/devices/pci/block/sda');
  for (const [name, value] of Object.entries(disk)) {
    mkdirSync(join(home, name, '..'), { recursive: true });
    writeFileSync(join(home, name), `${value}\n`);
  }
  mkdirSync(join(home, 'sda2'), { recursive: true });
  writeFileSync(join(home, 'sda2/partition'), '2\n');
  mkdirSync(join(dir, 'sys/dev/block'), { recursive: true });
  symlinkSync('../../devices/pci/block/sda', join(dir, 'sys/dev/block/8:0'));
  symlinkSync('../../devices/pci/block/sda/sda2', join(dir, 'sys/dev/block/8:2'));
  for (const [link, target] of Object.entries(links)) {
    mkdirSync(join(dir, 'dev/disk', link, '..'), { recursive: true });
    symlinkSync(target, join(dir, 'dev/disk', link));
  }
  return { sys: join(dir, 'sys'), dev: join(dir, 'dev') };
}

t.test('a disk is known by its WWN, else its serial, else its link in by-id', async (t) => {
  const of = (roots: { sys: string; dev: string }) => identifyBlock('8:0', '/dev/sda', roots);
  const both = { 'device/wwid': 'naa.5000c500a1b2c3d4', 'device/serial': 'ZA1 23' };
  t.equal(await of(machine(t.testdir(), both)), 'wwn:naa.5000c500a1b2c3d4');
  t.test('serial', async (t) => {
    t.equal(await of(machine(t.testdir(), { serial: 'ZA1  23 ' })), 'serial:ZA1_23');
  });
  t.test('mapped', async (t) => {
    t.equal(await of(machine(t.testdir(), { 'dm/uuid': 'LVM-abc' })), 'serial:LVM-abc');
  });
  t.test('by-id', async (t) => {
    const links = { 'by-id/ata-X': '../../sda', 'by-id/ata-X-part2': '../../sda2' };
    t.equal(await of(machine(t.testdir(), {}, links)), 'serial:ata-X');
  });
  t.test('nothing', async (t) => {
    t.equal(await of(machine(t.testdir(), {})), '');
  });
});

t.test('a partition is known by its own UUID, else by its number on the disk', async (t) => {
  const of = (roots: { sys: string; dev: string }) => identifyBlock('8:2', '/dev/sda2', roots);
  const wwid = { wwid: 'naa.5000c500a1b2c3d4' };
  const links = { 'by-partuuid/AB-02': '../../sda2', 'by-partuuid/AA-01': '../../sda1' };
  t.equal(await of(machine(t.testdir(), wwid, links)), 'partuuid:ab-02');
  t.test('number', async (t) => {
    t.equal(await of(machine(t.testdir(), wwid)), 'wwn:naa.5000c500a1b2c3d4-part2');
  });
});

t.test('an identifier fits its field and is printable', async (t) => {
  const roots = machine(t.testdir(), { wwid: `ü${'x'.repeat(200)}` });
  const identity = await identifyBlock('8:0', '/dev/sda', roots);
  t.equal(Buffer.byteLength(identity), 96);
  t.match(identity, /^wwn:[\x20-\x7e]+$/);
});

t.test('reads the numbers of a real block device', async (t) => {
  const node = '/dev/loop0';
  try {
    if (!statSync(node).isBlockDevice()) throw new Error('no block device');
    execFileSync('test', ['-e', '/sys/dev/block/7:0']);
  } catch {
    console.log(`SKIP ${node}`);
    return;
  }
  t.same(await identify(node, 0), { kind: 'block', sizeSectors: 0, identity: '' });
});
