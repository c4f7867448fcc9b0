/** A live migration, as the QEMU that the guest leaves is asked for it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Qmp } from './qmp.js';

interface Progress {
  readonly status?: string;
  readonly downtime?: number;
  readonly 'error-desc'?: string;
}

const COMPLETE_MS = 90_000;
/** An emulated guest dirties memory faster than it is worth to be copied twice. */
const PARAMETERS = { 'downtime-limit': 2000, 'max-bandwidth': 1 << 30 };

/** Resolves with the time for which the guest stood still, in milliseconds. */
export async function migrate(source: Qmp, uri: string): Promise<number> {
  await source.run('migrate-set-parameters', PARAMETERS);
  await source.run('migrate', { uri });
  const deadline = performance.now() + COMPLETE_MS;
  while (performance.now() < deadline) {
    const progress = (await source.run('query-migrate')) as Progress;
    if (progress.status === 'completed') return progress.downtime ?? 0;
    if (progress.status === 'failed' || progress.status === 'cancelled') {
      throw new Error(`the migration ${progress.status}: ${progress['error-desc'] ?? 'no reason'}`);
    }
    await sleep(100);
  }
  throw new Error(`the migration did not complete in ${COMPLETE_MS / 1000} s`);
}
