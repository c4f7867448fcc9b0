import type { CommandLine, OptionTable } from '../core/command-line.js';

/** Exit statuses of remapctl, as its man page lists them. */
export const EXIT = { done: 0, failed: 1, usage: 2, degraded: 3 } as const;
export type ExitStatus = (typeof EXIT)[keyof typeof EXIT];

/** Where a command reads and writes; the process's own streams, or a test's. */
export interface Terminal {
  out(text: string): void;
  err(text: string): void;
  readStdin(): Promise<string>;
  /** Colours are wanted. */
  readonly colour: boolean;
}

export interface Invocation extends CommandLine {
  readonly json: boolean;
  /** Throws USAGE when neither the option nor $REMAPCTL_SOCKET names it. */
  controlSocket(): string;
  readonly terminal: Terminal;
}

export interface Command {
  /** Words that call it: `status`, `remap add`. */
  readonly verb: string;
  /** The part of the usage line after the verb. */
  readonly synopsis: string;
  readonly summary: string;
  /** Lines of the help below the usage line. */
  readonly help: string;
  /** Works on devices and talks to no back-end. */
  readonly offline?: boolean;
  /** Options besides the global ones. */
  readonly options: OptionTable;
  /** Fewest and most words after the verb. */
  readonly words: readonly [number, number];
  run(invocation: Invocation): Promise<ExitStatus>;
}

export const GLOBAL_OPTIONS = {
  'control-socket': { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const satisfies OptionTable;
