import assert from 'node:assert/strict';
import type { VmCase } from '../../case.js';
import { assertOnlyFailedRemapped, breakSectors, randomSectors } from '../../faults.js';

const BAD_SECTORS = 500;
/** fio works on the first 32 MiB. */
const AREA_SECTORS = 65536;

export const vmCase: VmCase = {
  title: 'write errors on 500 random sectors under a running fio, which sees none of them',
  mainMiB: 64,
  spareMiB: 16,
  steps: {
    'break-sectors': (vm) => breakSectors(vm, randomSectors(BAD_SECTORS, AREA_SECTORS)),
  },
  verify: async (vm) => {
    // The last pass of fio writes every sector after its fault was set.
    assert.equal(await assertOnlyFailedRemapped(vm), BAD_SECTORS, 'all the bad sectors were met');
  },
};
