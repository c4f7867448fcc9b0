import { destination, type Logger, pino } from 'pino';

export type { Logger };

/**
 * JSON lines on stderr (stdout stays clean for answers). Written synchronously: a line about a
 * failing disk must not be lost in a buffer when the process dies.
 */
export const createLogger = (level: string): Logger =>
  pino(
    { level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
    destination({ dest: 2, sync: true }),
  );

/** For programs and tests that want no log at all. */
export const silentLogger: Logger = pino({ level: 'silent' });
