/** Writes the metadata of a volume anew from what its spare blocks say of themselves. */
import type { Clock } from '../core/clock.js';
import { RemapError } from '../core/errors.js';
import { COMMIT_QUORUM, METADATA_COPIES } from '../core/limits.js';
import { SECTOR_SIZE } from '../core/units.js';
import type { DeviceRecord, VolumeConfig } from '../ondisk/config.js';
import { UUID_ZERO } from '../ondisk/fields.js';
import { DIGEST_ZERO, NO_FEATURES } from '../ondisk/header.js';
import { NO_HEALTH } from '../ondisk/health.js';
import { encodeImage } from '../ondisk/superblock.js';
import type { DirectoryEntry } from '../ondisk/table-section.js';
import { DescriptorStore } from './descriptors.js';
import { PageWriter } from './pages.js';
import { writeSuperblocks } from './repair.js';
import type { Survey } from './survey.js';
import { TablePlacement } from './table-placement.js';
import { goodCopies, writeDurably, type Zone } from './zones.js';

export interface RebuildOptions {
  readonly main: Omit<DeviceRecord, 'uuid'>;
  /** In the order of the surveyed spares. */
  readonly spareRecords: readonly Omit<DeviceRecord, 'uuid'>[];
  /** For a volume whose name is lost as well. */
  readonly name: string;
  readonly clock: Clock;
}

/**
 * Pages first, then the superblock of one generation above all that was seen: a crash before its
 * first copy leaves what there was, after it the volume opens. Throws MAIN_CHANGED when main is too
 * small for what the blocks say, META_FULL, META_COMMIT.
 */
export async function writeRebuilt(survey: Survey, options: RebuildOptions): Promise<void> {
  const { volumeUuid, generation, resolved, survivor } = survey;
  requireMainHolds(survey, options);
  const zones = zonesOf(survey);
  const pagesMax = Math.min(...survey.spares.map(({ layout }) => layout.pagesMax));
  const plan = new TablePlacement(pagesMax, [], []).plan(resolved.entries, []);
  const writer = new PageWriter(zones, volumeUuid, writeDurably);
  const written = await writer.write(plan.pages, generation, []);
  requireQuorum(zones, METADATA_COPIES - lacking(zones));
  const directory = Array.from({ length: plan.pageCount }, (_, index) => {
    return written.get(index) as DirectoryEntry;
  });
  const now = options.clock.nowSeconds();
  const image = encodeImage({
    header: {
      features: NO_FEATURES,
      volumeUuid,
      generation,
      parent: DIGEST_ZERO,
      copiesCommitted: METADATA_COPIES,
      createdSeconds: survivor?.header.createdSeconds ?? now,
      committedSeconds: now,
    },
    config: configOf(survey, options),
    health: survivor?.health ?? NO_HEALTH,
    table: { entries: plan.inline, directory },
  });
  await writeSuperblocks(zones, image, generation, writeDurably);
  requireQuorum(zones, goodCopies(zones));
  await freeSuperseded(survey);
}

function zonesOf({ spares }: Survey): Zone[] {
  return spares.flatMap(({ device, layout, uuid: spareUuid }, spareIndex) =>
    layout.zoneOffsets.map((_, copyIndex): Zone => {
      const state = 'good';
      const generation = undefined;
      const pagesMissing = false;
      return { device, layout, spareIndex, spareUuid, copyIndex, state, generation, pagesMissing };
    }),
  );
}

/** Zones without all pages, on the spare that has most. */
function lacking(zones: readonly Zone[]): number {
  const counts = new Map<number, number>();
  for (const { spareIndex, pagesMissing } of zones) {
    counts.set(spareIndex, (counts.get(spareIndex) ?? 0) + (pagesMissing ? 1 : 0));
  }
  return Math.max(...counts.values());
}

function configOf(survey: Survey, { main, spareRecords, name }: RebuildOptions): VolumeConfig {
  return {
    name: survey.survivor?.config.name ?? name,
    logicalBlockSize: survey.logicalBlockSize,
    main: { ...main, uuid: UUID_ZERO },
    spares: survey.spares.map(({ uuid, layout, device }, i) => {
      const record = spareRecords[i];
      if (record === undefined) throw new RangeError(`no record of ${device.path}`);
      // The layout follows from it; a device that has grown keeps the size it had.
      const known = survey.survivor?.config.spares.find((spare) => spare.uuid === uuid);
      const sizeSectors = known?.sizeSectors ?? device.sizeSectors;
      if (layout.sizeBytes > sizeSectors * SECTOR_SIZE) throw new RangeError('layout and size');
      return { ...record, uuid, sizeSectors };
    }),
  };
}

/** What lost against a newer block must not come back when that one is given up some day. */
async function freeSuperseded(survey: Survey): Promise<void> {
  const { volumeUuid, logicalBlockSize, generation, resolved, spares } = survey;
  if (resolved.superseded.length === 0) return;
  const devices = spares.map(({ device }) => device);
  const layouts = spares.map(({ layout }) => layout);
  const descriptors = new DescriptorStore(devices, { volumeUuid, logicalBlockSize, layouts });
  const count = logicalBlockSize / SECTOR_SIZE;
  const changes = resolved.superseded.map(({ spareIndex, spareStart }) => {
    return { spareIndex, spareStart, count, state: 'free' as const };
  });
  await descriptors.update(changes, generation);
  for (const device of devices) await device.flush();
}

function requireMainHolds(survey: Survey, { main }: RebuildOptions): void {
  const need = survey.resolved.entries.reduce((most, { kind, start, count }) => {
    return kind === 'remapped' ? Math.max(most, start + count) : most;
  }, 0);
  if (main.sizeSectors >= need) return;
  throw new RemapError(
    'MAIN_CHANGED',
    `${main.pathHint} has ${main.sizeSectors} sectors, and the spare holds sectors of main up to ` +
      `${need}; name the right main.`,
    { context: { device: main.pathHint, have: main.sizeSectors, need } },
  );
}

function requireQuorum(zones: readonly Zone[], have: number): void {
  if (have >= COMMIT_QUORUM) return;
  const paths = [...new Set(zones.map((zone) => zone.device.path))].join(', ');
  throw new RemapError(
    'META_COMMIT',
    `Only ${have} of 5 copies of the metadata could be written to ${paths}; copy the spare, bad ` +
      'blocks and all, to a device that works and rebuild there.',
    { context: { have, need: COMMIT_QUORUM } },
  );
}
