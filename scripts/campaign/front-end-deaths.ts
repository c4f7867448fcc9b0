/**
 * One back-end, and front-ends that die: in the middle of the handshake, of a message, of I/O at
 * depth, without a word. Nothing acknowledged is lost, nothing given up comes late, and the
 * back-end holds no more at the end than at the start.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Daemon, serveArguments, volumeFiles } from '../../test/fixtures/daemon.js';
import {
  FEATURE,
  FEATURES_ALL,
  FrontEnd,
  type LoadResult,
  PROTOCOL_ALL,
  SECTOR,
} from '../../test/fixtures/front-end.js';
import { Prng } from '../../test/fixtures/prng.js';
import type { Scope } from '../../test/fixtures/temp-directory.js';
import type { Campaign, CampaignOptions, CampaignResult } from './campaign.js';
import { type Footprint, footprint, slope } from './process-footprint.js';

/** Four times what is in flight at most, so that the load finds sectors that are free. */
const RANGE = 16 * 1024;
const DEPTH = 32;
const GET_VRING_BASE = 11;
const SAMPLES = 200;
/** Bytes of a whole start with two queues are between; the cut falls anywhere. */
const HANDSHAKE_BYTES = 1200;
const LOOKS = 100;
const LOOK_EVERY_MS = 5;
/** A small heap is collected often, so that what stays behind shows early, and ends the process. */
const SMALL_HEAP = ['--max-old-space-size=20', '--max-semi-space-size=1'];

const DEATHS = ['handshake', 'load', 'load', 'half a message', 'an open question', 'stop'] as const;
type Death = (typeof DEATHS)[number];

class Deaths {
  readonly #daemon: Daemon;
  readonly #socketPath: string;
  readonly #prng: Prng;
  readonly problems: string[] = [];
  readonly deaths = new Map<Death, number>();
  readonly samples: Footprint[] = [];
  requests = 0;
  inFlight = 0;
  withLoad = 0;
  #last: FrontEnd | undefined;

  constructor(daemon: Daemon, socketPath: string, prng: Prng) {
    this.#daemon = daemon;
    this.#socketPath = socketPath;
    this.#prng = prng;
  }

  /** Some sectors are slow, so that requests are under way whenever the end comes. */
  async unsettle(): Promise<void> {
    const slow = Array.from({ length: 16 }, () => ({
      lba: this.#prng.below(RANGE - 64),
      count: 64,
    }));
    await this.#daemon.inject('slow', slow, { delayMs: 2 });
  }

  async spoil(): Promise<void> {
    await this.#daemon.inject('write-error', [{ lba: this.#prng.below(RANGE), count: 1 }]);
  }

  async cycle(): Promise<void> {
    const prng = this.#prng;
    const death = prng.pick(DEATHS);
    const queues = prng.between(1, 2);
    const fe = this.#next({
      queues,
      queueSize: prng.pick([64, 128]),
      regions: prng.pick([
        [{ guestAddress: 0, size: 4 << 20 }],
        [
          { guestAddress: 0, size: 2 << 20 },
          { guestAddress: 1 << 30, size: 2 << 20 },
        ],
      ]),
      features: prng.pick([FEATURES_ALL, FEATURES_ALL, FEATURES_ALL & ~FEATURE.EVENT_IDX]),
      protocolFeatures: PROTOCOL_ALL,
    });
    this.deaths.set(death, (this.deaths.get(death) ?? 0) + 1);
    if (death === 'handshake') await this.#cutHandshake(fe);
    else await this.#dieUnderLoad(fe, death, queues);
    fe.close();
  }

  #next(options: Partial<ConstructorParameters<typeof FrontEnd>[0]>): FrontEnd {
    const fe = new FrontEnd({ socketPath: this.#socketPath, ...options });
    if (this.#last) fe.takeRecord(this.#last);
    this.#last = fe;
    return fe;
  }

  async #cutHandshake(fe: FrontEnd): Promise<void> {
    fe.severAfter(this.#prng.below(HANDSHAKE_BYTES));
    try {
      await fe.connect();
      await fe.start();
    } catch (e) {
      if (!(e as Error).message.endsWith('severed')) this.problems.push(String(e));
    }
    await fe.die();
  }

  async #dieUnderLoad(fe: FrontEnd, death: Death, queues: number): Promise<void> {
    const prng = this.#prng;
    await fe.connect();
    await fe.start();
    await fe.capacity();
    const load = fe.run({
      verify: true,
      readPercent: 40,
      blockBytes: SECTOR,
      blockBytesMax: 8192,
      segmentBytes: 4096,
      depth: DEPTH,
      queues: Array.from({ length: queues }, (_, i) => i),
      seconds: 60,
      sectorCount: RANGE,
      flushEvery: 50,
      seed: prng.next(),
    });
    const wait = prng.below(6);
    if (wait > 0) await sleep(wait);
    if (death === 'stop') {
      fe.finishLoads();
      await load;
      await fe.stop();
    }
    const question = Buffer.alloc(20);
    question.writeUInt32LE(GET_VRING_BASE, 0);
    question.writeUInt32LE(1, 4);
    question.writeUInt32LE(8, 8);
    if (death === 'half a message') await fe.sendRaw(question.subarray(0, prng.between(1, 19)));
    if (death === 'an open question') await fe.sendRaw(question);
    this.inFlight += fe.state().outstanding;
    this.withLoad++;
    await fe.die();
    this.#judge(await load);
    this.problems.push(...fe.state().violations);
  }

  #judge(result: LoadResult): void {
    this.requests += result.reads + result.writes + result.flushes;
    this.problems.push(...result.firstErrors);
    for (const mismatch of result.firstMismatches) this.problems.push(JSON.stringify(mismatch));
  }

  /** Everything ever written is there. */
  async verify(): Promise<void> {
    const fe = this.#next({});
    await fe.connect();
    await fe.start();
    await fe.capacity();
    this.#judge(await fe.verifyAll({ sectorCount: RANGE }));
    await fe.stop();
    await fe.die();
    fe.close();
  }

  sectorsWritten(): number {
    const fe = this.#next({});
    const { sectorsWritten } = fe.state();
    fe.close();
    return sectorsWritten;
  }

  async sample(): Promise<void> {
    const gone = await this.#daemon.statusWhen(({ client }) => !client.connected);
    if (gone.client.connected) this.problems.push('the back-end does not drain');
    // The question itself holds a descriptor of the back-end for a moment.
    const least = Math.min(...this.samples.map(({ fds }) => fds));
    let now = footprint(this.#daemon.pid);
    for (let look = 0; look < LOOKS && (look === 0 || now.fds > least); look++) {
      await sleep(LOOK_EVERY_MS);
      now = footprint(this.#daemon.pid);
    }
    this.samples.push(now);
  }
}

/** What the samples say, the first tenth of them left out for the warming up. */
function footprintLines(deaths: Deaths, cyclesPerSample: number): string[] {
  const settled = deaths.samples.slice(Math.ceil(deaths.samples.length / 10));
  for (const what of ['fds', 'threads'] as const) {
    const seen = new Set(settled.map((sample) => sample[what]));
    if (seen.size > 1) deaths.problems.push(`${what}: ${[...seen].join(', ')}`);
  }
  const perThousand = (samples: readonly Footprint[]) =>
    ((slope(samples.map((s) => s.anonKib)) / cyclesPerSample) * 1000).toFixed(1);
  const half = settled.slice(Math.floor(settled.length / 2));
  const of = (pick: (s: Footprint) => number) => {
    const values = deaths.samples.map(pick);
    return `${values[0]} at first, ${values.at(-1)} at last`;
  };
  return [
    `descriptors ${of((s) => s.fds)}; threads ${of((s) => s.threads)}`,
    `anonymous memory ${of((s) => s.anonKib)} KiB, ` +
      `slope ${perThousand(settled)} KiB per 1000 cycles over ${settled.length} samples, ` +
      `${perThousand(half)} over the later half`,
  ];
}

async function run(scope: Scope, options: CampaignOptions): Promise<CampaignResult> {
  const { count, seed, progress } = options;
  const files = volumeFiles(scope);
  const daemon = await Daemon.start(
    scope,
    [...serveArguments(files), '--create', '--num-queues=2'],
    { nodeArguments: SMALL_HEAP },
  );
  const deaths = new Deaths(daemon, files.socket, new Prng(seed));
  await deaths.unsettle();
  const every = Math.max(20, Math.floor(count / SAMPLES));
  for (let cycle = 1; cycle <= count && deaths.problems.length === 0; cycle++) {
    await deaths.cycle();
    if (cycle % every !== 0) continue;
    await deaths.spoil();
    await deaths.sample();
    if (cycle % (every * 10) !== 0) continue;
    await deaths.verify();
    progress(`${cycle} cycles, ${JSON.stringify(deaths.samples.at(-1))}`);
  }
  await deaths.verify();
  const status = await daemon.status();
  if (status.state !== 'healthy' || status.io.errors !== 0) {
    deaths.problems.push(`the volume is ${status.state} with ${status.io.errors} errors`);
  }
  if (status.remaps.sectors === 0) deaths.problems.push('no sector was remapped');
  const kinds = [...deaths.deaths].map(([kind, n]) => `${n} ${kind}`).join(', ');
  const lines = [
    `${count} front-ends died: ${kinds}`,
    `${deaths.requests} requests answered, ` +
      `${(deaths.inFlight / deaths.withLoad).toFixed(1)} under way on average when the end came; ` +
      `${deaths.sectorsWritten()} sectors verified, ${status.remaps.sectors} of them remapped`,
    ...footprintLines(deaths, every),
  ];
  return { lines, problems: deaths.problems };
}

export const frontEndDeaths: Campaign = {
  title: 'front-ends that die, one back-end that does not notice',
  count: 100_000,
  run,
};
