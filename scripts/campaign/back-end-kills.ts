/**
 * `kill -9` of the back-end under load, again and again: the front-end comes back with its inflight
 * region as QEMU does, answers come for all that was on its way, and every acknowledged write is
 * there. A hundred kills to a volume and a seed, so that a long campaign can go on where it ended.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { native } from '../../src/native/binding.js';
import { call } from '../../src/protocol/client.js';
import type { FaultRequest } from '../../src/protocol/messages.js';
import { Daemon, type VolumeFiles, volumeFiles } from '../../test/fixtures/daemon.js';
import { FrontEnd, type LoadResult, SECTOR } from '../../test/fixtures/front-end.js';
import { Prng } from '../../test/fixtures/prng.js';
import { runProgram } from '../../test/fixtures/program.js';
import type { Scope } from '../../test/fixtures/temp-directory.js';
import {
  type Campaign,
  type CampaignOptions,
  type CampaignResult,
  ScriptScope,
} from './campaign.js';

const KILLS_A_VOLUME = 100;
const RANGE = 32 * 1024;
const QUEUES = 2;
/** On each queue. */
const DEPTH = 64;
/** Later than any honest back-end answers on a machine that others use too. */
const STALLED_MS = 60_000;
const FRESH_BAD_SECTORS = 20;
/** After a restart the newest of the bad sectors fail again; older ones are on the spare. */
const BAD_SECTORS_KEPT = 200;
/** In one kill of so many the next start waits until the lock is free, and the time is taken. */
const LINGER_EVERY = 10;

export interface KillCounts {
  kills: number;
  requests: number;
  overtaken: number;
  errors: number;
  mismatches: number;
  writeErrors: number;
  slowed: number;
  parkedAtKill: number;
  remapped: number;
  verified: number;
  readonly reconnectMs: number[];
  readonly startMs: number[];
  readonly lingerMs: number[];
}

export const noKills = (): KillCounts => ({
  kills: 0,
  requests: 0,
  overtaken: 0,
  errors: 0,
  mismatches: 0,
  writeErrors: 0,
  slowed: 0,
  parkedAtKill: 0,
  remapped: 0,
  verified: 0,
  reconnectMs: [],
  startMs: [],
  lingerMs: [],
});

class KilledVolume {
  readonly #files: VolumeFiles;
  readonly #daemon: Daemon;
  readonly #fe: FrontEnd;
  readonly #prng: Prng;
  readonly #counts: KillCounts;
  readonly #bad: number[] = [];
  #copyLba = 0;
  readonly problems: string[] = [];

  private constructor(
    files: VolumeFiles,
    daemon: Daemon,
    fe: FrontEnd,
    prng: Prng,
    counts: KillCounts,
  ) {
    this.#files = files;
    this.#daemon = daemon;
    this.#fe = fe;
    this.#prng = prng;
    this.#counts = counts;
  }

  static async open(scope: Scope, seed: number, counts: KillCounts): Promise<KilledVolume> {
    const files = volumeFiles(scope);
    const daemon = await Daemon.serve(scope, files, `--num-queues=${QUEUES}`);
    const fe = await FrontEnd.attach({ socketPath: files.socket, queues: QUEUES });
    scope.teardown(() => fe.close());
    await fe.capacity();
    return new KilledVolume(files, daemon, fe, new Prng(seed), counts);
  }

  async run(kills: number): Promise<void> {
    const [, copy] = (await this.#daemon.status()).metadata.copies;
    this.#copyLba = (copy?.offset ?? 0) / SECTOR;
    await this.#unsettle();
    const load = this.#fe.run({
      verify: true,
      readPercent: 30,
      blockBytes: SECTOR,
      blockBytesMax: 32768,
      segmentBytes: 4096,
      depth: DEPTH,
      queues: Array.from({ length: QUEUES }, (_, i) => i),
      seconds: 86_400,
      sectorCount: RANGE,
      flushEvery: 64,
      seed: this.#prng.next(),
    });
    // Of no use before the end; what it says then is judged there.
    load.catch(() => undefined);
    for (let kill = 0; kill < kills && this.problems.length === 0; kill++) await this.#kill(kill);
    this.#fe.finishLoads();
    await this.#until('not all is answered', () => this.#fe.state().outstanding === 0);
    if (this.problems.length === 0) await this.#finish(await load);
  }

  /** Slow sectors make answers overtake each other, slow metadata keeps commits under way. */
  async #unsettle(): Promise<void> {
    const prng = this.#prng;
    const faults: FaultRequest[] = [];
    const add = (kind: FaultRequest['kind'], device: string, lba: number, count: number) =>
      faults.push({
        kind,
        device,
        lba,
        count,
        times: 0,
        delayMs: kind === 'slow' ? prng.between(1, 20) : 0,
      });
    for (let i = 0; i < 8; i++) add('slow', 'main', prng.below(RANGE - 64), 64);
    add('slow', 'spare', this.#copyLba, 2048);
    for (let i = 0; i < FRESH_BAD_SECTORS; i++) this.#bad.push(prng.below(RANGE));
    for (const lba of new Set(this.#bad.slice(-BAD_SECTORS_KEPT)))
      add('write-error', 'main', lba, 1);
    await call(this.#files.control, { verb: 'inject add', faults });
  }

  async #kill(kill: number): Promise<void> {
    const counts = this.#counts;
    const fe = this.#fe;
    await this.#until('no request goes on', () => fe.state().firstAnswerMs >= 0);
    if (kill > 0) counts.reconnectMs.push(fe.state().firstAnswerMs);
    await sleep(this.#prng.between(0, 150));
    await this.#count();
    const gone = fe.hangup();
    await this.#daemon.kill();
    await gone;
    counts.kills++;
    if (kill % LINGER_EVERY === LINGER_EVERY - 1) counts.lingerMs.push(await this.#linger());
    await this.#daemon.restart();
    counts.startMs.push(this.#daemon.startMs);
    await this.#unsettle();
    await fe.reconnect();
  }

  /** What the injected faults have done to this process. */
  async #count(): Promise<void> {
    const { io } = await this.#daemon.status();
    const list = await call(this.#files.control, { verb: 'inject list' });
    if (list.action !== 'list') return;
    for (const { kind, hits } of list.faults) {
      if (kind === 'write-error') this.#counts.writeErrors += hits;
      else this.#counts.slowed += hits;
    }
    this.#counts.parkedAtKill += io.parked;
    if (io.errors > 0) this.problems.push(`${io.errors} requests were answered with IOERR`);
  }

  /** How long after the end of the process its lock can still be met. */
  async #linger(): Promise<number> {
    const begun = performance.now();
    for (;;) {
      try {
        native().openDevice(this.#files.main, { readOnly: false, exclusive: true }).close();
        return performance.now() - begun;
      } catch (e) {
        if (performance.now() - begun > STALLED_MS) throw e;
        await sleep(1);
      }
    }
  }

  async #finish(result: LoadResult): Promise<void> {
    const counts = this.#counts;
    const verified = await this.#fe.verifyAll({ sectorCount: RANGE });
    for (const { errors, mismatchedSectors, firstErrors, firstMismatches } of [result, verified]) {
      counts.errors += errors;
      counts.mismatches += mismatchedSectors;
      this.problems.push(...firstErrors, ...firstMismatches.map((m) => JSON.stringify(m)));
    }
    counts.requests += result.reads + result.writes + result.flushes;
    counts.overtaken += result.overtaken;
    counts.verified += this.#fe.state().sectorsWritten;
    this.problems.push(...this.#fe.state().violations);
    const { state, io, remaps } = await this.#daemon.status();
    counts.remapped += remaps.sectors;
    if (state !== 'healthy' || io.errors > 0) this.problems.push(`${state}, ${io.errors} errors`);
    const bad = new Set(this.#bad);
    const lbas = (await this.#daemon.remaps()).flatMap(({ lba, count }) =>
      Array.from({ length: count }, (_, i) => lba + i),
    );
    const good = lbas.filter((lba) => !bad.has(lba));
    if (good.length > 0) this.problems.push(`sound sectors were remapped: ${good.join(', ')}`);
    this.#fe.close();
    const status = await this.#daemon.stop();
    if (status !== 0) this.problems.push(`the back-end ended with ${status}`);
    const check = await runProgram('remapctl', ['check', this.#files.spare]);
    if (check.status !== 0) this.problems.push(check.stdout + check.stderr);
  }

  async #until(otherwise: string, holds: () => boolean): Promise<void> {
    const since = performance.now();
    while (!holds()) {
      if (performance.now() - since > STALLED_MS) {
        const { outstanding } = this.#fe.state();
        this.problems.push(`${otherwise} within ${STALLED_MS} ms, ${outstanding} outstanding`);
        return;
      }
      await sleep(2);
    }
  }
}

/** One volume, `kills` times. */
export async function killBackEnd(
  scope: Scope,
  { kills, seed, counts }: { kills: number; seed: number; counts: KillCounts },
): Promise<string[]> {
  const volume = await KilledVolume.open(scope, seed, counts);
  await volume.run(kills);
  return volume.problems;
}

/** p50, p99 and the most of a list, for people. */
export function spread(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN;
  return [0.5, 0.99, 1].map((share) => at(share).toFixed(1)).join(' / ');
}

export function killLines(counts: KillCounts): string[] {
  const { kills, requests, overtaken, errors, mismatches } = counts;
  return [
    `${kills} kills, ${requests} requests, ${overtaken} overtaken by a later one; ` +
      `${errors} errors, ${mismatches} sectors lost of ${counts.verified}`,
    `${counts.writeErrors} I/Os failed and ${counts.slowed} slowed by injected faults, ` +
      `${counts.parkedAtKill} requests parked, ${counts.remapped} sectors remapped`,
    `reconnect to first answer, p50 / p99 / most: ${spread(counts.reconnectMs)} ms`,
    `start of the process to ready: ${spread(counts.startMs)} ms`,
    `lock held after the end of the process: ${spread(counts.lingerMs)} ms`,
  ];
}

async function run(scope: Scope, options: CampaignOptions): Promise<CampaignResult> {
  const counts = noKills();
  const problems: string[] = [];
  let current: ScriptScope | undefined;
  scope.teardown(() => current?.end());
  for (let run = 0; counts.kills < options.count && problems.length === 0; run++) {
    const kills = Math.min(KILLS_A_VOLUME, options.count - counts.kills);
    const seed = options.seed + run;
    current = new ScriptScope();
    const found = await killBackEnd(current, { kills, seed, counts });
    await current.end();
    problems.push(...found.map((problem) => `seed ${seed}: ${problem}`));
    options.progress(
      `seed ${seed}: ${killLines(counts)[0]}; reconnect ${spread(counts.reconnectMs)} ms`,
    );
  }
  if (counts.writeErrors === 0 || counts.overtaken === 0) problems.push('no fault has struck');
  return { lines: killLines(counts), problems };
}

export const backEndKills: Campaign = {
  title: 'kill -9 of the back-end at depth 64; a seed for every hundred',
  count: 10_000,
  run,
};
