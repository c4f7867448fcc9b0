/** The simulator's data plane against the real one: the same requests, faults and decisions. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { BlkStatus, type IndexChange, Operation } from '../../src/native/abi.js';
import { Backend, type ParkedRequest } from '../../src/native/backend.js';
import { type NativeBackend, type NativeDevice, native } from '../../src/native/binding.js';
import { crc32c } from '../../src/ondisk/crc32c.js';
import { sparseFile } from '../fixtures/daemon.js';
import { FrontEnd, STATUS, TYPE } from '../fixtures/front-end.js';
import { Prng } from '../fixtures/prng.js';
import { Disk } from '../fixtures/sim/disk.js';
import { ModelBackend } from '../fixtures/sim/model-backend.js';
import { ModelDevice } from '../fixtures/sim/model-device.js';
import { World } from '../fixtures/sim/world.js';
import { tempDirectory } from '../fixtures/temp-directory.js';

const SECTOR = 512;
const SECTORS = 256;
const SEED = Number(process.env.SIM_SEED ?? 1);
const RUNS = Number(process.env.SIM_RUNS ?? 3);
const REQUESTS = 40;

t.setTimeout(300_000);

/** One of the two, as the script drives it. */
interface Side {
  readonly devices: readonly NativeDevice[];
  readonly backend: Backend;
  /** One request to its end. */
  ask(type: number, lba: number, count: number, data: Buffer): Promise<[number, Buffer]>;
  /** Waits for what the backend has promised. */
  run<T>(promise: Promise<T>): Promise<T>;
  /** Everything that is stored, device by device. */
  contents(): Promise<Buffer[]>;
  end(): Promise<void>;
}

/** What was seen, each as a line. */
type Journal = string[];

const note = (journal: Journal, ...facts: readonly unknown[]): void => {
  journal.push(JSON.stringify(facts));
};

const options = (devices: readonly NativeDevice[], blockSize: number) => ({
  devices,
  capacitySectors: SECTORS,
  logicalBlockSize: blockSize,
  numQueues: 1,
  workers: 1,
  readOnly: false,
  sharedStorage: false,
  serial: 'model',
});

/** Decides by chance what becomes of parked requests, and notes all that is told. */
function handlers(journal: Journal, prng: Prng, backend: () => Backend) {
  const errors = new Set<string>();
  return {
    parked: (request: ParkedRequest) => void decide(request, journal, prng, backend()),
    client: () => {},
    queue: () => {},
    claim: () => {},
    recovered: ({ lba, count, device }: { lba: number; count: number; device: number }) => {
      note(journal, 'recovered', lba, count, device);
    },
    // How often the same failure is told is a matter of time.
    deviceError: ({ error, device }: { error: number; device: number }) => {
      const known = errors.size;
      if (errors.add(`${device} ${error}`).size > known) {
        note(journal, 'device error', device, error);
      }
    },
    log: () => {},
  };
}

async function decide(
  { token, operation, bad }: ParkedRequest,
  journal: Journal,
  prng: Prng,
  backend: Backend,
): Promise<void> {
  note(journal, 'parked', operation, bad);
  const changes: IndexChange[] = [];
  let failed = operation === Operation.read;
  for (const { lba, count } of failed ? [] : bad) {
    const target = 8 * prng.below(SECTORS / 8 - 8);
    const error = await backend.writeSpare(token, { lba, count, device: 1, target });
    note(journal, 'written', lba, count, target, error);
    failed ||= error !== 0;
    changes.push({ lba, count, target, device: 1, flags: 1 });
  }
  if (!failed) backend.publish(changes);
  backend.complete(token, failed ? BlkStatus.ioerr : BlkStatus.ok);
}

async function realSide(
  t: Test,
  contents: readonly Buffer[],
  blockSize: number,
  wire: (backend: () => Backend) => ReturnType<typeof handlers>,
): Promise<Side> {
  const directory = tempDirectory(t);
  const devices = contents.map((bytes, i) => {
    const path = sparseFile(join(directory, `disk${i}`), bytes.length);
    writeFileSync(path, bytes);
    return native().openDevice(path, { readOnly: false, exclusive: true });
  });
  const socketPath = join(directory, 'blk.sock');
  const create = (onEvents: () => void): NativeBackend =>
    native().createBackend({ ...options(devices, blockSize), socketPath, onEvents });
  const backend: Backend = new Backend(
    create,
    wire(() => backend),
  );
  backend.listen(socketPath);
  const frontEnd = await FrontEnd.attach({ socketPath, queues: 1 });
  return {
    devices,
    backend,
    ask: async (type, sector, count, data) => {
      const length = type === TYPE.IN ? count * SECTOR : 0;
      const answer = await frontEnd.request({ type, sector, data, length });
      return [answer.status, answer.data];
    },
    run: (promise) => promise,
    contents: async () => Promise.all(devices.map(contentOf)),
    end: async () => {
      frontEnd.close();
      await backend.stop();
    },
  };
}

function modelSide(
  seed: number,
  contents: readonly Buffer[],
  blockSize: number,
  wire: (backend: () => Backend) => ReturnType<typeof handlers>,
): Side {
  const world = new World(seed);
  const devices = contents.map((bytes, i) => {
    const disk = new Disk(world, { path: `disk${i}`, sizeBytes: bytes.length });
    disk.format(bytes, 0);
    return new ModelDevice(disk, world.nature, false);
  });
  let model: ModelBackend | undefined;
  const backend: Backend = new Backend(
    (onEvents) => {
      model = new ModelBackend({ ...options(devices, blockSize), onEvents }, world, world.nature);
      return model;
    },
    wire(() => backend),
  );
  backend.listen('socket');
  const finish = async <T>(promise: Promise<T>): Promise<T> => {
    let done = false;
    void promise.finally(() => {
      done = true;
    });
    if (!(await world.until(() => done, 1e6))) throw new Error('the model does not go on');
    return promise;
  };
  return {
    devices,
    backend,
    ask: (type, lba, sectors, given) => {
      const data = type === TYPE.IN ? Buffer.alloc(sectors * SECTOR) : given;
      const [range] = isRange(type) ? [parseRange(given)] : [{ lba, sectors }];
      return finish(
        new Promise((resolve) => {
          const answer = (status: number): void => {
            resolve([status, type === TYPE.IN ? data : Buffer.alloc(0)]);
          };
          model?.request({ type, ...range, data, done: answer });
        }),
      );
    },
    run: finish,
    contents: async () => devices.map(({ disk }) => disk.view.slice(0, disk.sizeBytes)),
    end: () => finish(backend.stop()),
  };
}

const isRange = (type: number): boolean => type === TYPE.DISCARD || type === TYPE.WRITE_ZEROES;

/** `struct virtio_blk_discard_write_zeroes`. */
const parseRange = (data: Buffer): { lba: number; sectors: number; unmap: boolean } => ({
  lba: Number(data.readBigUInt64LE(0)),
  sectors: data.readUInt32LE(8),
  unmap: data.readUInt32LE(12) !== 0,
});

function rangeData(lba: number, sectors: number): Buffer {
  const data = Buffer.alloc(16);
  data.writeBigUInt64LE(BigInt(lba), 0);
  data.writeUInt32LE(sectors, 8);
  return data;
}

async function contentOf(device: NativeDevice): Promise<Buffer> {
  const bytes = Buffer.alloc(device.sizeBytes);
  device.clearFaults();
  await device.read(bytes, 0);
  return bytes;
}

/** A history of requests, faults and changes of the index; the same for both. */
async function play(side: Side, seed: number, blockSectors: number): Promise<Journal> {
  const prng = new Prng(seed);
  const journal: Journal = [];
  for (let i = 0; i < REQUESTS; i++) {
    const blocks = prng.between(1, 6);
    const lba = prng.below(SECTORS / blockSectors - blocks + 1) * blockSectors;
    const count = blocks * blockSectors;
    const what = prng.below(100);
    if (prng.below(3) === 0) {
      const device = side.devices[prng.below(3) === 0 ? 1 : 0] as NativeDevice;
      const kind = prng.pick(['write-error', 'write-error', 'read-error'] as const);
      const times = prng.pick([0, 0, 1, 2]);
      const errno = prng.pick([5, 5, 5, 61, 28]);
      device.addFault({
        kind,
        lba,
        count: prng.between(1, count),
        times,
        errno,
        perMillion: 1e6,
        delayMs: 0,
      });
    }
    if (prng.below(6) === 0) change(side.backend, prng, lba, count);
    const type = what < 45 ? TYPE.OUT : what < 80 ? TYPE.IN : what < 88 ? TYPE.FLUSH : TYPE.DISCARD;
    const data = type === TYPE.OUT ? prng.bytes(count * SECTOR) : Buffer.alloc(0);
    const given = type === TYPE.DISCARD ? rangeData(lba, count) : data;
    const [status, answer] = await side.ask(type, lba, count, given);
    const read = status === STATUS.OK ? crc32c(answer) : 0;
    note(journal, type, lba, count, status, read);
    if (prng.below(8) === 0) {
      const order = { count, sourceDevice: 0, source: lba, device: 1, target: lba };
      note(journal, 'copied', await side.run(side.backend.copy(order)));
    }
    if (prng.below(12) === 0) for (const device of side.devices) device.clearFaults();
  }
  const { total } = side.backend.counters();
  note(journal, { ...total, kicks: 0, calls: 0, started: 0 });
  return journal;
}

function change(backend: Backend, prng: Prng, lba: number, count: number): void {
  const flags = prng.pick([0, 1, 2, 3]);
  const device = (flags & 1) === 0 ? 0 : 1;
  const target = device === 0 ? lba : prng.below(SECTORS - count);
  backend.publish([{ lba, count, target, device, flags }]);
}

t.test('the model does what the real data plane does', async (t) => {
  let [parked, recovered] = [0, 0];
  for (let seed = SEED; seed < SEED + RUNS; seed++) {
    const blockSectors = seed % 3 === 0 ? 8 : 1;
    const prng = new Prng(seed);
    const contents = [prng.bytes(SECTORS * SECTOR), prng.bytes(SECTORS * SECTOR)];
    const seen = [];
    for (const make of [realSide, modelSide]) {
      const events: Journal = [];
      const decisions = new Prng(seed);
      const wire = (backend: () => Backend) => handlers(events, decisions, backend);
      const side = await (make === realSide
        ? realSide(t, contents, blockSectors * SECTOR, wire)
        : modelSide(seed, contents, blockSectors * SECTOR, wire));
      const requests = await play(side, seed, blockSectors);
      await side.end();
      // Parts of one request may end in any order.
      seen.push({ requests, events: events.sort(), contents: await side.contents() });
    }
    const [real, model] = seen as [(typeof seen)[0], (typeof seen)[0]];
    t.same(model.requests, real.requests, `requests of SIM_SEED=${seed}`);
    t.same(model.events, real.events, `events of SIM_SEED=${seed}`);
    t.ok(
      model.contents.every((bytes, i) => bytes.equals(real.contents[i] as Buffer)),
      `contents of SIM_SEED=${seed}`,
    );
    parked += real.events.filter((line) => line.includes('parked')).length;
    recovered += real.events.filter((line) => line.includes('recovered')).length;
  }
  t.comment(`${parked} requests parked, ${recovered} pending extents read after all`);
  t.ok(parked > 3 && recovered > 0, 'the faults have happened');
});
