/** Makes a volume of a main device and blank spares: what `create` and `--create` do. */
import type { Clock } from '../core/clock.js';
import { RemapError } from '../core/errors.js';
import { SPARE_MIN_BYTES } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import { SECTOR_SIZE } from '../core/units.js';
import { type DeviceSet, openDevices } from '../device/device-set.js';
import type { FileDevice } from '../device/file-device.js';
import { contentsOf } from '../device/signature.js';
import { NAME_MAX_BYTES } from '../ondisk/config.js';
import { layoutOf } from '../ondisk/layout.js';
import {
  describeDevice,
  matchMain,
  type Recorded,
  recordedOn,
  requireMain,
  standsFor,
} from './binding.js';
import { readGroup } from './descriptor-slots.js';
import { MetadataStore } from './store.js';

export interface FormatOptions {
  /** By default the file name of main. */
  readonly name?: string | undefined;
  /** 512 or 4096; by default the largest that one of the devices needs. */
  readonly logicalBlockSize?: number | undefined;
  /** Destroy what is on the spares. */
  readonly force: boolean;
  /** Check and tell, but write nothing. */
  readonly dryRun: boolean;
  readonly clock: Clock;
  readonly logger?: Logger;
}

export interface FormattedSpare {
  readonly path: string;
  readonly sizeSectors: number;
  /** Sectors that can hold remapped data. */
  readonly dataSectors: number;
  /** What is on it now, in words; null when it is blank. */
  readonly contents: string | null;
}

export interface FormatReport {
  /** `planned` with dryRun; `existing` when the spares belonged to this main already. */
  readonly state: 'created' | 'planned' | 'existing';
  readonly name: string;
  /** null when planned. */
  readonly volumeUuid: string | null;
  readonly logicalBlockSize: number;
  readonly mainPath: string;
  readonly mainSectors: number;
  readonly spares: readonly FormattedSpare[];
  /** The spares can take a hundredth of main, which outlasts most disks. */
  readonly ample: boolean;
}

/** Share of main that is ample for its spares. */
const AMPLE_SHARE = 100;

/**
 * Formats the spares at `sparePaths` for the main at `mainPath`. Nothing is written when it
 * throws SAME_DEVICE, DEVICE_OPEN, DEVICE_BUSY, SPARE_TOO_SMALL, BLOCK_SIZE, SPARE_NOT_BLANK,
 * SPARE_FOREIGN or USAGE.
 */
export async function createVolume(
  mainPath: string,
  sparePaths: readonly string[],
  options: FormatOptions,
): Promise<FormatReport> {
  const devices = await openDevices({ mainPath, sparePaths, readOnly: options.dryRun });
  try {
    return await formatSpares(devices, options);
  } finally {
    await devices.close();
  }
}

/** As `createVolume`, for devices that are open. */
export async function formatSpares(
  devices: DeviceSet,
  options: FormatOptions,
): Promise<FormatReport> {
  const { main, spares } = devices;
  for (const spare of spares) requireSize(spare);
  const recorded = await recordedOn(spares);
  if (recorded !== undefined && !options.force) {
    await requireSameVolume(recorded, devices, options);
    return report('existing', recorded, devices, []);
  }
  const logicalBlockSize = chooseBlockSize([main, ...spares], options.logicalBlockSize);
  requireWholeBlocks(main, logicalBlockSize);
  const name = options.name ?? nameOf(main.path);
  const contents = await requireBlank(spares, options.force);
  const plan = { volumeUuid: null, config: { name, logicalBlockSize } };
  if (options.dryRun) return report('planned', plan, devices, contents);
  const store = await MetadataStore.create(spares, {
    name,
    logicalBlockSize,
    main: await describeDevice(main),
    spareRecords: await Promise.all(spares.map(describeDevice)),
    clock: options.clock,
    newUuid: main.system.newUuid,
    // All that can be on a spare has been looked for, and `force` been asked about it.
    force: true,
    ...(options.logger === undefined ? {} : { logger: options.logger }),
  });
  return report('created', store, devices, contents);
}

/**
 * The block size that all devices can work with: `wanted`, or the largest that one of them needs.
 * Throws BLOCK_SIZE.
 */
export function chooseBlockSize(
  devices: readonly Pick<FileDevice, 'path' | 'logicalBlockSize'>[],
  wanted: number | undefined,
): number {
  const [first, ...others] = devices as [FileDevice, ...FileDevice[]];
  const coarsest = others.reduce(
    (a, b) => (b.logicalBlockSize > a.logicalBlockSize ? b : a),
    first,
  );
  const { path, logicalBlockSize: needed } = coarsest;
  if (needed > 4096) {
    throw new RemapError(
      'BLOCK_SIZE',
      `${path} has blocks of ${needed} bytes, more than the 4096 a volume can have; ` +
        'use another device.',
      { context: { device: path, have: needed, need: 4096 } },
    );
  }
  if (wanted === undefined || wanted >= needed) return wanted ?? Math.max(needed, SECTOR_SIZE);
  throw new RemapError(
    'BLOCK_SIZE',
    `${path} has blocks of ${needed} bytes, so the volume cannot have blocks of ${wanted}; ` +
      `use --logical-block-size=${needed}.`,
    { context: { device: path, have: wanted, need: needed } },
  );
}

/** Throws BLOCK_SIZE unless `main` is a whole number of blocks. */
export function requireWholeBlocks(
  main: Pick<FileDevice, 'path' | 'sizeSectors'>,
  logicalBlockSize: number,
): void {
  const bytes = main.sizeSectors * SECTOR_SIZE;
  if (bytes > 0 && bytes % logicalBlockSize === 0) return;
  if (bytes === 0) {
    throw new RemapError('BLOCK_SIZE', `${main.path} is empty; give it a size first.`, {
      context: { device: main.path, have: 0, need: logicalBlockSize },
    });
  }
  throw new RemapError(
    'BLOCK_SIZE',
    `${main.path} has ${bytes} bytes, not a whole number of blocks of ${logicalBlockSize}; ` +
      'change its size, or use --logical-block-size=512.',
    { context: { device: main.path, have: bytes, need: logicalBlockSize } },
  );
}

/** Throws SPARE_TOO_SMALL. */
export function requireSize(spare: Pick<FileDevice, 'path' | 'sizeSectors'>): void {
  const have = spare.sizeSectors * SECTOR_SIZE;
  if (have >= SPARE_MIN_BYTES) return;
  throw new RemapError(
    'SPARE_TOO_SMALL',
    `${spare.path} has ${have} bytes and a spare needs at least ${SPARE_MIN_BYTES}; ` +
      'use a larger one.',
    { context: { device: spare.path, have, need: SPARE_MIN_BYTES } },
  );
}

/** Name of a volume that was given none: the file name of its main, cut to its field. */
export function nameOf(path: string): string {
  const name = Buffer.from(path.replace(/\/+$/, '').replace(/^.*\//, ''));
  let end = Math.min(name.length, NAME_MAX_BYTES);
  // Not in the middle of a character.
  while (end > 0 && end < name.length && ((name[end] as number) & 0xc0) === 0x80) end--;
  return name.toString('utf8', 0, end);
}

async function requireSameVolume(
  { config }: Recorded,
  { main, spares }: DeviceSet,
  options: FormatOptions,
): Promise<void> {
  const path = spares.map((spare) => spare.path).join(', ');
  const { grade } = await matchMain(config.main, main);
  if (grade === 'mismatch') {
    // The volume's own main, changed: formatting anew is the last thing to advise.
    if (await standsFor(config.main, main)) await requireMain(config, main);
    throw new RemapError(
      'SPARE_FOREIGN',
      `${path} is a spare of the volume ${config.name} (${config.main.pathHint}) already; use ` +
        'another device, or remapctl create --force if that volume may lose its remapped data.',
      { context: { device: path } },
    );
  }
  const wanted = options.logicalBlockSize;
  if (wanted === undefined || wanted === config.logicalBlockSize) return;
  throw new RemapError(
    'BLOCK_SIZE',
    `The volume ${config.name} has blocks of ${config.logicalBlockSize} bytes, not ${wanted}; ` +
      'leave --logical-block-size out.',
    { context: { device: path, have: config.logicalBlockSize, need: wanted } },
  );
}

/** What is on each spare, null for blank. Throws SPARE_NOT_BLANK or SPARE_FOREIGN unless forced. */
async function requireBlank(
  spares: readonly FileDevice[],
  force: boolean,
): Promise<(string | null)[]> {
  const contents: (string | null)[] = [];
  for (const spare of spares) {
    const own = await recordedOn([spare]);
    const what =
      own === undefined
        ? ((await lostBlocks(spare)) ?? (await contentsOf(spare)))
        : `the remapped data of the volume ${own.config.name} (${own.config.main.pathHint})`;
    contents.push(what ?? null);
    if (what === undefined || force) continue;
    throw new RemapError(
      own === undefined ? 'SPARE_NOT_BLANK' : 'SPARE_FOREIGN',
      `${spare.path} holds ${what}; use another device, or remapctl create --force if that may ` +
        'be destroyed.',
      { context: { device: spare.path } },
    );
  }
  return contents;
}

/** A spare whose superblocks were wiped is not blank: the first groups are filled first. */
async function lostBlocks(spare: FileDevice): Promise<string | undefined> {
  for (const blockSize of [512, 4096]) {
    const layout = layoutOf(spare.sizeSectors * SECTOR_SIZE, blockSize);
    const slots = await readGroup(spare, layout.groupAt(0), blockSize);
    if (!slots.some(({ kind }) => kind === 'page')) continue;
    return 'remapped data of a volume whose metadata is lost (see remapctl check)';
  }
  return undefined;
}

function report(
  state: FormatReport['state'],
  made: {
    readonly volumeUuid: string | null;
    readonly config: { readonly name: string; readonly logicalBlockSize: number };
  },
  { main, spares }: DeviceSet,
  contents: readonly (string | null)[],
): FormatReport {
  const { name, logicalBlockSize } = made.config;
  const rows = spares.map(({ path, sizeSectors }, i) => ({
    path,
    sizeSectors,
    dataSectors: layoutOf(sizeSectors * SECTOR_SIZE, logicalBlockSize).dataSectors,
    contents: contents[i] ?? null,
  }));
  const data = rows.reduce((sum, row) => sum + row.dataSectors, 0);
  return {
    state,
    name,
    volumeUuid: made.volumeUuid,
    logicalBlockSize,
    mainPath: main.path,
    mainSectors: main.sizeSectors,
    spares: rows,
    ample: data * AMPLE_SHARE >= main.sizeSectors,
  };
}
