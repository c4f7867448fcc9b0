/** JSON answers of the verbs of `remapctl` that work on devices without a back-end. */
import { z } from 'zod';
import { copyStateSchema } from './messages.js';

const counter = z.number().int().nonnegative();
const blockSize = z.union([z.literal(512), z.literal(4096)]);

/* create/1 ------------------------------------------------------------------------------------ */

export const createAnswerSchema = z.object({
  schema: z.literal('create/1'),
  /** `planned` with --dry-run: nothing was written. */
  state: z.enum(['created', 'planned']),
  volume: z.object({
    name: z.string(),
    /** null when planned. */
    uuid: z.string().nullable(),
    mainPath: z.string(),
    sizeSectors: counter,
    logicalBlockSize: blockSize,
  }),
  spares: z.array(
    z.object({
      path: z.string(),
      sizeSectors: counter,
      /** Sectors that can hold remapped data. */
      totalSectors: counter,
      /** What was on it before, in words; null when it was blank. */
      contents: z.string().nullable(),
      /** Byte ranges taken by metadata. */
      zones: z.array(z.object({ offset: counter, sizeBytes: counter })),
    }),
  ),
  /** The spares can take a hundredth of main. */
  ample: z.boolean(),
});
export type CreateAnswer = z.infer<typeof createAnswerSchema>;

/* inspect/1 ----------------------------------------------------------------------------------- */

const deviceRecordSchema = z.object({
  uuid: z.string(),
  sizeSectors: counter,
  kind: z.enum(['file', 'block']),
  identity: z.string(),
  /** Last path seen. */
  pathHint: z.string(),
});

const slotSchema = z.object({
  /** Bytes. */
  offset: counter,
  kind: z.enum(['valid', 'damaged', 'blank', 'unreadable']),
  damage: z.array(z.object({ section: z.string(), reason: z.string() })).readonly(),
  /** These only when valid. */
  inPlace: z.boolean().optional(),
  volumeUuid: z.string().optional(),
  spareUuid: z.string().optional(),
  generation: counter.optional(),
  digest: z.string().optional(),
  committedSeconds: counter.optional(),
});

const tallySchema = z.object({ extents: counter, sectors: counter });

export const inspectAnswerSchema = z.object({
  schema: z.literal('inspect/1'),
  path: z.string(),
  sizeSectors: counter,
  layout: z.object({
    logicalBlockSize: counter,
    /** Bytes. */
    zoneSize: counter,
    zoneOffsets: z.array(counter).readonly(),
    pageCapacity: counter,
    groups: counter,
    dataSectors: counter,
  }),
  /** `ok`: a back-end would take `generation`. `old`: descriptors are newer than that. */
  verdict: z.enum(['ok', 'old', 'absent', 'lost', 'fork', 'foreign']),
  generation: counter,
  /** Copies that may be lost without losing a commit. */
  tolerance: counter,
  /** Neither copies nor descriptors can tell whether `generation` is the newest there was. */
  mayBeOld: z.boolean(),
  /** Newest generation of a descriptor; null unless the copies alone cannot tell. */
  describedGeneration: counter.nullable(),
  copies: z
    .array(
      z.object({ offset: counter, state: copyStateSchema, slots: z.array(slotSchema).readonly() }),
    )
    .readonly(),
  /** Where what follows was decoded from; null when nothing could be. */
  source: z.object({ copy: counter, slot: counter, sound: z.boolean() }).nullable(),
  volumeUuid: z.string().nullable(),
  spareUuid: z.string().nullable(),
  config: z
    .object({
      logicalBlockSize: counter,
      name: z.string(),
      main: deviceRecordSchema,
      spares: z.array(deviceRecordSchema).readonly(),
    })
    .nullable(),
  health: z
    .object({
      reallocatedTotal: counter,
      recoveredTotal: counter,
      readErrorsTotal: counter,
      writeErrorsTotal: counter,
      spareRetiredTotal: counter,
      metadataRepairsTotal: counter,
      scanCursor: counter,
      scanStartedSeconds: counter,
      scanFinishedSeconds: counter,
    })
    .nullable(),
  table: z
    .object({
      remapped: tallySchema,
      pending: tallySchema,
      retired: tallySchema,
      inlineEntries: counter,
      pages: z
        .array(z.object({ location: counter, generation: counter, zones: counter }))
        .readonly(),
    })
    .nullable(),
});
export type InspectAnswer = z.infer<typeof inspectAnswerSchema>;

/* check/1 ------------------------------------------------------------------------------------- */

export const checkAnswerSchema = z.object({
  schema: z.literal('check/1'),
  /** whole: nothing is wrong any more. degraded: it can be served. unusable: it cannot. */
  verdict: z.enum(['whole', 'degraded', 'unusable']),
  volumeUuid: z.string().nullable(),
  name: z.string().nullable(),
  generation: counter,
  entries: counter,
  problems: z
    .array(
      z.object({
        code: z.string(),
        message: z.string(),
        where: z.object({
          device: z.string().optional(),
          copy: counter.optional(),
          lba: counter.optional(),
          count: counter.optional(),
        }),
        repaired: z.boolean(),
      }),
    )
    .readonly(),
  /** Problems beyond those listed. */
  moreProblems: counter,
  /** What the spare blocks say of themselves where the copies are lost; null where they are not. */
  rebuild: z
    .object({
      /** It has been written; without --rebuild it could be. */
      done: z.boolean(),
      volumeUuid: z.string(),
      logicalBlockSize: blockSize,
      /** Of the superblock written. */
      generation: counter,
      remapped: tallySchema,
      retired: tallySchema,
      /** Sectors of spares that hold an older state of what a newer block holds. */
      supersededSectors: counter,
      /** Sectors of main claimed twice with one generation. */
      ambiguousSectors: counter,
      /** Groups of which a page cannot be read: what it described may be missing. */
      doubtfulGroups: counter,
    })
    .nullable(),
});
export type CheckAnswer = z.infer<typeof checkAnswerSchema>;

/* discover/1 ---------------------------------------------------------------------------------- */

export const discoverAnswerSchema = z.object({
  schema: z.literal('discover/1'),
  /** Devices and files looked at. */
  looked: counter,
  volumes: z.array(
    z.object({
      uuid: z.string(),
      name: z.string(),
      /** Only `complete` and `degraded` ones are served without a person's word. */
      verdict: z.enum(['complete', 'degraded', 'incomplete', 'conflicting']),
      /** How sure it is that main is the right one; null without a main. */
      confidence: z.enum(['strong', 'weak']).nullable(),
      /** Clauses in words. */
      reasons: z.array(z.string()),
      generation: counter,
      sizeSectors: counter,
      logicalBlockSize: counter,
      main: z.object({ path: z.string().nullable() }),
      spares: z.array(
        z.object({
          uuid: z.string(),
          /** null when it was not found, or more than one claims to be it. */
          path: z.string().nullable(),
          generation: counter.nullable(),
          /** Of five. */
          goodCopies: counter,
        }),
      ),
    }),
  ),
  /** Devices that are part of no volume for a reason worth telling. */
  oddities: z.array(
    z.object({
      path: z.string(),
      state: z.enum(['lost', 'fork', 'foreign', 'left-over', 'unreadable']),
      why: z.string(),
    }),
  ),
});
export type DiscoverAnswer = z.infer<typeof discoverAnswerSchema>;

/* export/1 ------------------------------------------------------------------------------------ */

/** An extent of the table; sectors. */
export const mapRowSchema = z.object({
  kind: z.enum(['remapped', 'pending', 'retired']),
  /** Sector of main; of the spare when retired. */
  lba: counter,
  count: z.number().int().positive(),
  /** null when pending. */
  spare: counter.nullable(),
  /** null unless remapped. */
  spareLba: counter.nullable(),
  cause: z.enum(['write-error', 'read-error', 'verify-error', 'administrator', 'prediction']),
  evidence: counter,
  time: z.iso.datetime(),
});

export const exportAnswerSchema = z.object({
  schema: z.literal('export/1'),
  name: z.string(),
  uuid: z.string(),
  generation: counter,
  sizeSectors: counter,
  logicalBlockSize: counter,
  rows: z.array(mapRowSchema),
});
export type ExportAnswer = z.infer<typeof exportAnswerSchema>;

/* import/1 ------------------------------------------------------------------------------------ */

export const importAnswerSchema = z.object({
  schema: z.literal('import/1'),
  /** `planned` with --dry-run: nothing was written. */
  state: z.enum(['imported', 'planned']),
  /** Sectors of whole blocks that the file names. */
  requested: counter,
  /** Sectors that are pending since. */
  added: counter,
  /** Sectors that were pending or remapped before. */
  known: counter,
  generation: counter,
});
export type ImportAnswer = z.infer<typeof importAnswerSchema>;
