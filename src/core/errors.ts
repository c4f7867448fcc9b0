/**
 * One error class for everything a person may meet. `code` is stable and is what tests, logs and
 * programs match; the message is one sentence that says what happened and what to do next.
 */
export type ErrorCode =
  /** The command line or a request does not make sense. Exit status 2. */
  | 'USAGE'
  /** A file or device could not be opened, read or written. */
  | 'DEVICE_OPEN'
  | 'DEVICE_IO'
  /** Another process holds the device or the socket. */
  | 'DEVICE_BUSY'
  | 'SOCKET_BUSY'
  | 'SOCKET_PATH'
  | 'SAME_DEVICE'
  | 'SPARE_TOO_SMALL'
  | 'SPARE_NOT_BLANK'
  | 'SPARE_FOREIGN'
  | 'BLOCK_SIZE'
  | 'MAIN_CHANGED'
  /** The spare carries no metadata at all. */
  | 'META_ABSENT'
  /** Metadata was there, and no copy of it can be used. */
  | 'META_LOST'
  /** The spare's own descriptors are newer than every copy that is left. */
  | 'META_OLD'
  /** Two different images carry one generation. */
  | 'META_FORK'
  | 'META_UNSUPPORTED'
  /** Fewer copies than a commit needs could be written. */
  | 'META_COMMIT'
  | 'META_FULL'
  | 'SPARE_EXHAUSTED'
  | 'RANGE'
  | 'NOT_REMAPPED'
  | 'FAULTS_OFF'
  | 'DAEMON_UNREACHABLE'
  | 'READ_ONLY'
  /** On shared storage, while no ring runs: another back-end may have the volume. */
  | 'NOT_HELD'
  | 'NATIVE';

/** Where an error happened; only what is known is present. */
export interface ErrorContext {
  readonly device?: string;
  readonly lba?: number;
  readonly count?: number;
  readonly operation?: string;
  readonly have?: number;
  readonly need?: number;
  readonly errno?: string;
}

export class RemapError extends Error {
  readonly code: ErrorCode;
  readonly context: ErrorContext;

  constructor(
    code: ErrorCode,
    message: string,
    options: { context?: ErrorContext; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'RemapError';
    this.code = code;
    this.context = options.context ?? {};
  }
}

export const isRemapError = (e: unknown, code?: ErrorCode): e is RemapError =>
  e instanceof RemapError && (code === undefined || e.code === code);

/** The one sentence for a person, whatever was thrown. */
export const sentence = (e: unknown): string => (e instanceof Error ? e.message : String(e));
