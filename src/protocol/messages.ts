/**
 * Everything that crosses the control socket, and every JSON answer of `remapctl`.
 *
 * Requests are strict: an unknown key is an error. Answers are plain: a newer program may add
 * fields within a schema number, and an older one ignores them. Numbers are sectors of 512 bytes,
 * counts or milliseconds, as the name says; times are ISO 8601 in UTC.
 */
import { z } from 'zod';
import { LBA_LIMIT } from '../core/units.js';

const counter = z.number().int().nonnegative();
const sector = counter.lt(LBA_LIMIT);
const sectors = z.number().int().positive().max(LBA_LIMIT);

/* Requests ------------------------------------------------------------------------------------ */

export const extentSchema = z.strictObject({ lba: sector, count: sectors });
export type ExtentMessage = z.infer<typeof extentSchema>;

export const faultKindSchema = z.enum(['read-error', 'write-error', 'slow']);
/** The main device, or the spare of index n as `spare`, `spare1`, `spare2`, ... */
export const faultDeviceSchema = z.string().regex(/^(main|spare[0-7]?)$/);

/** What a device may fail with: each class of errno that the error policy tells apart. */
export const FAULT_ERRNOS = [
  'EIO',
  'ENODATA',
  'EREMOTEIO',
  'EILSEQ',
  'EBADMSG',
  'ETIMEDOUT',
  'EAGAIN',
  'ENOLINK',
  'ENODEV',
  'ENXIO',
  'ENOSPC',
  'EDQUOT',
  'EROFS',
] as const;
export const faultErrnoSchema = z.enum(FAULT_ERRNOS);

export const FAULT_DELAY_DEFAULT_MS = 1000;
export const FAULT_DELAY_MAX_MS = 600_000;

export const faultRequestSchema = z.strictObject({
  device: faultDeviceSchema,
  kind: faultKindSchema,
  lba: sector,
  count: sectors,
  /** I/Os to hit; 0 for ever. */
  times: z.number().int().nonnegative().max(0xffff_ffff),
  /** Only `slow` waits; 0 for the others. */
  delayMs: z.number().int().nonnegative().max(FAULT_DELAY_MAX_MS),
  /** What an I/O fails with, EIO by default; nothing for `slow`. */
  errno: faultErrnoSchema.optional(),
  /** Of the I/Os that meet the rule, how many it hits; 100 by default. */
  percent: z.number().min(0.0001).max(100).optional(),
});
export type FaultRequest = z.infer<typeof faultRequestSchema>;

/** Which rules: all, all of one device, or one of a device; ids are unique on a device only. */
export const faultFilterSchema = z.strictObject({
  device: faultDeviceSchema.optional(),
  id: z.number().int().positive().optional(),
});
export type FaultFilter = z.infer<typeof faultFilterSchema>;

export const requestSchema = z.discriminatedUnion('verb', [
  z.strictObject({ verb: z.literal('status') }),
  z.strictObject({ verb: z.literal('resize') }),
  z.strictObject({ verb: z.literal('resume') }),
  z.strictObject({ verb: z.literal('remap list') }),
  z.strictObject({ verb: z.literal('remap add'), extents: z.array(extentSchema).min(1) }),
  z.strictObject({ verb: z.literal('remap remove'), extents: z.array(extentSchema).min(1) }),
  z.strictObject({ verb: z.literal('inject add'), faults: z.array(faultRequestSchema).min(1) }),
  z.strictObject({ verb: z.literal('inject list') }),
  z.strictObject({ verb: z.literal('inject clear'), ...faultFilterSchema.shape }),
]);
export type Request = z.infer<typeof requestSchema>;

/* status/1 ------------------------------------------------------------------------------------ */

/**
 * `failed` serves nothing any more; `degraded` serves, and something asks for attention; `standby`
 * does not hold the volume, which is on shared storage, and shows what it last knew of it.
 */
export const volumeStateSchema = z.enum(['healthy', 'degraded', 'failed', 'standby']);
export type VolumeState = z.infer<typeof volumeStateSchema>;

export const problemCodeSchema = z.enum([
  'PENDING_SECTORS',
  'SPARE_LOW',
  'SPARE_EXHAUSTED',
  'SPARE_FAILED',
  'METADATA_DEGRADED',
  'METADATA_MAY_BE_OLD',
  'METADATA_FAILED',
  'FLUSH_FAILED',
  'MAIN_FAILED',
  'RINGS_WAIT',
  'ERROR_STORM',
  'IO_HUNG',
]);
export type ProblemCode = z.infer<typeof problemCodeSchema>;

/** What keeps a volume from being healthy: one sentence each, the worst first. */
export const problemSchema = z.object({ code: problemCodeSchema, message: z.string() });
export type Problem = z.infer<typeof problemSchema>;

export const spareStateSchema = z.enum(['healthy', 'degraded', 'exhausted', 'failed']);
export type SpareState = z.infer<typeof spareStateSchema>;

export const spareStatusSchema = z.object({
  path: z.string(),
  uuid: z.string(),
  state: spareStateSchema,
  /** Sectors for remapped data, metadata not counted. */
  totalSectors: counter,
  freeSectors: counter,
  retiredSectors: counter,
});
export type SpareStatus = z.infer<typeof spareStatusSchema>;

export const copyStateSchema = z.enum([
  'good',
  'stale',
  'torn',
  'damaged',
  'foreign',
  'misplaced',
  'unreadable',
  'blank',
]);
export type CopyState = z.infer<typeof copyStateSchema>;

export const copyStatusSchema = z.object({
  /** Index of the spare the copy stands on. */
  spare: counter,
  /** Byte offset of the copy's zone on that spare. */
  offset: counter,
  state: copyStateSchema,
  /** 0 where none could be read. */
  generation: counter,
});
export type CopyStatus = z.infer<typeof copyStatusSchema>;

export const healthInputsSchema = z.object({
  reallocatedSectors: counter,
  pendingSectors: counter,
  recoveredSectors: counter,
  readErrors: counter,
  writeErrors: counter,
  retiredSectors: counter,
  metadataRepairs: counter,
});

export const ioStatusSchema = z.object({
  reads: counter,
  writes: counter,
  flushes: counter,
  discards: counter,
  /** Requests answered with IOERR. */
  errors: counter,
  remappedReads: counter,
  remappedWrites: counter,
  readSectors: counter,
  writtenSectors: counter,
  /** Requests that waited for the control plane, since start. */
  parked: counter,
  unsupported: counter,
  malformed: counter,
  inFlight: counter,
});

export const volumeStatusSchema = z.object({
  name: z.string(),
  /** null for a volume without a spare: it carries no metadata. */
  uuid: z.string().nullable(),
  state: volumeStateSchema,
  problems: z.array(problemSchema),
  mainPath: z.string(),
  sizeSectors: counter,
  logicalBlockSize: z.union([z.literal(512), z.literal(4096)]),
  readOnly: z.boolean(),
  /** 0 for a volume without a spare. */
  generation: counter,
  remaps: z.object({ extents: counter, sectors: counter }),
  pending: z.object({ extents: counter, sectors: counter }),
  spares: z.array(spareStatusSchema),
  metadata: z.object({
    copies: z.array(copyStatusSchema),
    /** Copies that may be lost without losing a commit: good copies of the worst spare - 1. */
    tolerance: counter,
    repairs: counter,
  }),
  health: z.object({ score: z.number().int().min(0).max(100), inputs: healthInputsSchema }),
  io: ioStatusSchema,
  client: z.object({
    connected: z.boolean(),
    /** Queues the front-end has started. */
    queues: counter,
    /** Queues offered to it. */
    maxQueues: counter,
    /** Requests taken from each of them since the back-end started. */
    requests: z.array(counter),
    /** No flush will come, by what was agreed on: each write is made durable before its answer. */
    writeThrough: z.boolean(),
  }),
  /** How I/O is done, and by how many threads. */
  engine: z.object({ name: z.string(), workers: counter }),
  /** Stops automatic remapping in an error storm; null where nothing is remapped anyway. */
  breaker: z
    .object({
      state: z.enum(['closed', 'open']),
      since: z.iso.datetime().nullable(),
      /** Blocks that are believed bad on their own word, and what is left of them. */
      allowanceBlocks: counter,
      leftBlocks: counter,
    })
    .nullable(),
  faultInjection: z.object({ allowed: z.boolean(), rules: counter }),
});
export type VolumeStatus = z.infer<typeof volumeStatusSchema>;

export const statusAnswerSchema = z.object({
  schema: z.literal('status/1'),
  /** Of the process that serves them; not told by earlier versions. */
  pid: z.number().int().positive().optional(),
  volumes: z.array(volumeStatusSchema),
});
export type StatusAnswer = z.infer<typeof statusAnswerSchema>;

/* resize/1 ------------------------------------------------------------------------------------ */

export const resizeReportSchema = z.object({
  /** The same when main has not grown. */
  previousSectors: counter,
  sizeSectors: counter,
});
export type ResizeReport = z.infer<typeof resizeReportSchema>;

export const resizeAnswerSchema = z.object({
  schema: z.literal('resize/1'),
  ...resizeReportSchema.shape,
});
export type ResizeAnswer = z.infer<typeof resizeAnswerSchema>;

/* resume/1 ------------------------------------------------------------------------------------ */

export const resumeAnswerSchema = z.object({
  schema: z.literal('resume/1'),
  /** Remapping had stopped. */
  wasOpen: z.boolean(),
});
export type ResumeAnswer = z.infer<typeof resumeAnswerSchema>;

/* remap/1 ------------------------------------------------------------------------------------- */

export const remapCauseSchema = z.enum([
  'write-error',
  'read-error',
  'verify-error',
  'administrator',
  'prediction',
]);
export type RemapCause = z.infer<typeof remapCauseSchema>;

export const remapRowSchema = z.object({
  lba: counter,
  count: counter,
  /** Index into `spares` of the status. */
  spare: counter,
  spareLba: counter,
  cause: remapCauseSchema,
  /** Failures seen, saturates at 255. */
  evidence: counter,
  time: z.iso.datetime(),
});
export type RemapRow = z.infer<typeof remapRowSchema>;

/** A sector that could not be read and was not yet written again. */
export const pendingRowSchema = z.object({
  lba: counter,
  count: counter,
  cause: remapCauseSchema,
  evidence: counter,
  time: z.iso.datetime(),
});
export type PendingRow = z.infer<typeof pendingRowSchema>;

/** All in sectors; requested = moved + skipped + failed + pending. */
export const moveReportSchema = z.object({
  requested: counter,
  moved: counter,
  /** Already where they should be. */
  skipped: counter,
  /** Neither copied nor changed. */
  failed: counter,
  /** Could not be read, so they were not moved and are pending now. */
  pending: counter,
});
export type MoveReport = z.infer<typeof moveReportSchema>;

export const remapAnswerSchema = z.discriminatedUnion('action', [
  z.object({
    schema: z.literal('remap/1'),
    action: z.literal('list'),
    remaps: z.array(remapRowSchema),
    pending: z.array(pendingRowSchema),
  }),
  z.object({ schema: z.literal('remap/1'), action: z.literal('add'), ...moveReportSchema.shape }),
  z.object({
    schema: z.literal('remap/1'),
    action: z.literal('remove'),
    ...moveReportSchema.shape,
  }),
]);
export type RemapAnswer = z.infer<typeof remapAnswerSchema>;

/* inject/1 ------------------------------------------------------------------------------------ */

export const faultRowSchema = z.object({
  /** Unique on its device only. */
  id: counter,
  device: z.string(),
  kind: faultKindSchema,
  lba: counter,
  count: counter,
  /** I/Os left to hit; 0 for ever. */
  times: counter,
  delayMs: counter,
  errno: z.string(),
  percent: z.number(),
  hits: counter,
});
export type FaultRow = z.infer<typeof faultRowSchema>;

export const injectAnswerSchema = z.discriminatedUnion('action', [
  z.object({
    schema: z.literal('inject/1'),
    action: z.literal('add'),
    faults: z.array(faultRowSchema),
  }),
  z.object({
    schema: z.literal('inject/1'),
    action: z.literal('list'),
    faults: z.array(faultRowSchema),
  }),
  z.object({ schema: z.literal('inject/1'), action: z.literal('clear'), cleared: counter }),
]);
export type InjectAnswer = z.infer<typeof injectAnswerSchema>;

/* error/1 ------------------------------------------------------------------------------------- */

export const errorAnswerSchema = z.object({
  schema: z.literal('error/1'),
  error: z.object({
    code: z.string(),
    message: z.string(),
    context: z.record(z.string(), z.union([z.string(), z.number()])),
  }),
});
export type ErrorAnswer = z.infer<typeof errorAnswerSchema>;

/** What each verb of the control socket answers. */
export const answerSchemas = {
  status: statusAnswerSchema,
  resize: resizeAnswerSchema,
  resume: resumeAnswerSchema,
  'remap list': remapAnswerSchema,
  'remap add': remapAnswerSchema,
  'remap remove': remapAnswerSchema,
  'inject add': injectAnswerSchema,
  'inject list': injectAnswerSchema,
  'inject clear': injectAnswerSchema,
} as const satisfies Record<Request['verb'], z.ZodType>;
