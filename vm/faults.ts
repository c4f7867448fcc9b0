/** Faults on the main device of a running volume, and what became of them. */
import assert from 'node:assert/strict';
import type { ExtentMessage, FaultRow, RemapRow } from '../src/protocol/messages.js';
import type { Vm } from './vm.js';

/** Makes every write to these sectors fail for ever, one fault for each; or every read. */
export async function breakSectors(
  vm: Vm,
  sectors: Iterable<number>,
  kind: 'write-error' | 'read-error' = 'write-error',
): Promise<void> {
  const always = { device: 'main', kind, count: 1, times: 0, delayMs: 0 };
  await vm.remapctl.inject([...sectors].map((lba) => ({ ...always, lba })));
}

/** I/O that touches one of the extents that begin here takes so long. */
export async function slowSectors(
  vm: Vm,
  starts: Iterable<number>,
  count: number,
  delayMs: number,
): Promise<void> {
  const always = { device: 'main', kind: 'slow' as const, count, times: 0, delayMs };
  await vm.remapctl.inject([...starts].map((lba) => ({ ...always, lba })));
}

/** Distinct sectors below `limit`. */
export function randomSectors(count: number, limit: number): Set<number> {
  const sectors = new Set<number>();
  while (sectors.size < count) sectors.add(Math.floor(Math.random() * limit));
  return sectors;
}

/** Sectors whose fault was met, in order. */
export async function failedSectors(vm: Vm): Promise<number[]> {
  const answer = JSON.parse(await vm.remapctl.run('inject', 'list', '--json')) as {
    faults: FaultRow[];
  };
  return answer.faults
    .filter(({ hits }) => hits > 0)
    .flatMap(sectorsOf)
    .sort(ascending);
}

/** Sectors that live on the spare, in order. */
export async function remappedSectors(vm: Vm): Promise<number[]> {
  const answer = JSON.parse(await vm.remapctl.run('remap', 'list', '--json')) as {
    remaps: RemapRow[];
  };
  return answer.remaps.flatMap(sectorsOf).sort(ascending);
}

/** Exactly the sectors that failed are remapped, and status counts them; returns how many. */
export async function assertOnlyFailedRemapped(vm: Vm): Promise<number> {
  const failed = await failedSectors(vm);
  assert.deepEqual(await remappedSectors(vm), failed, 'remapped sectors are the failed ones');
  const status = await vm.remapctl.status();
  assert.equal(status.remaps.sectors, failed.length, 'status counts the failed sectors');
  assert.equal(status.pending.sectors, 0, 'no sector is pending');
  assert.equal(status.io.errors, 0, 'the guest saw no error');
  return failed.length;
}

const sectorsOf = ({ lba, count }: ExtentMessage): number[] =>
  Array.from({ length: count }, (_, index) => lba + index);

const ascending = (a: number, b: number): number => a - b;
