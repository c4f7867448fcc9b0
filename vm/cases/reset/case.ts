import assert from 'node:assert/strict';
import type { VmCase } from '../../case.js';
import { slowSectors } from '../../faults.js';
import { rounds, roundsTimeoutMs } from '../../rounds.js';
import { NO_ANSWER, type Vm } from '../../vm.js';

/** Resets from outside; one more comes from the guest itself. */
const RESETS = rounds(1);
/** The load works on the 8 MiB from 16 MiB on. */
const LOAD_START = 32768;
const LOAD_SECTORS = 16384;

let boots = 0;
/** What the guest flushed before its first reset. */
let flushed = '';
let inFlightAtResets: number[] = [];

/** How many requests are on their way, once they are many. */
async function underLoad(vm: Vm): Promise<number> {
  const { io } = await vm.remapctl.statusWhen(
    ({ io }) => io.inFlight >= 4,
    'enough in flight for a reset in the middle of I/O',
  );
  return io.inFlight;
}

export const vmCase: VmCase = {
  inSuite: [],
  title: 'the guest is reset in the middle of I/O, from outside and by itself',
  mainMiB: 64,
  spareMiB: 16,
  reboots: true,
  timeoutMs: roundsTimeoutMs(RESETS),
  prepare: async (vm) => {
    boots = 0;
    flushed = '';
    inFlightAtResets = [];
    // Requests that are slow are still on their way when the reset comes.
    const every = Array.from({ length: 8 }, (_, n) => LOAD_START + (n * LOAD_SECTORS) / 8);
    await slowSectors(vm, every, 128, 150);
  },
  steps: {
    /** first, again (after a reset from outside), or last (after the guest's own). */
    'which-boot': async () => {
      boots += 1;
      return boots === 1 ? 'first' : boots <= RESETS + 1 ? 'again' : 'last';
    },
    flushed: async (_vm, sum = '') => {
      flushed = sum;
    },
    'flushed-sum': async () => flushed,
    /** After the last reset from outside the guest resets itself. */
    'next-reset': async () => (boots <= RESETS ? 'outside' : 'itself'),
    'reset-under-load': async (vm) => {
      inFlightAtResets.push(await underLoad(vm));
      await (await vm.qmp).run('system_reset');
      return NO_ANSWER;
    },
    'load-runs': async (vm) => {
      inFlightAtResets.push(await underLoad(vm));
    },
  },
  verify: async (vm) => {
    assert.equal(boots, RESETS + 2, 'boots');
    const { io, state } = await vm.remapctl.status();
    assert.equal(state, 'healthy');
    assert.equal(io.errors, 0, 'the guest saw no error');
    assert.equal(io.malformed, 0, 'every request was well formed');
    return `${boots - 1} resets, requests in flight: ${inFlightAtResets.join(' ')}`;
  },
};
