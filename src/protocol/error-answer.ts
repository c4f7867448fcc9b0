import { RemapError, sentence } from '../core/errors.js';
import type { ErrorAnswer } from './messages.js';

/** What was thrown, as an `error/1`. */
export function errorAnswer(e: unknown): ErrorAnswer {
  const known = e instanceof RemapError ? e : undefined;
  const context = Object.fromEntries(
    Object.entries(known?.context ?? {}).filter(([, value]) => value !== undefined),
  );
  return {
    schema: 'error/1',
    error: { code: known?.code ?? 'INTERNAL', message: sentence(e), context },
  };
}
