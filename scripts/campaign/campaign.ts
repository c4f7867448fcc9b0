/** What every campaign is: something hard, done many times, from one seed. */
import type { Scope } from '../../test/fixtures/temp-directory.js';

export interface CampaignOptions {
  /** How often. */
  readonly count: number;
  /** The same seed makes the same choices. */
  readonly seed: number;
  /** A line now and then. */
  readonly progress: (line: string) => void;
}

export interface CampaignResult {
  /** What was done and measured, a line each. */
  readonly lines: readonly string[];
  /** What must not be. */
  readonly problems: readonly string[];
}

export interface Campaign {
  readonly title: string;
  readonly count: number;
  run(scope: Scope, options: CampaignOptions): Promise<CampaignResult>;
}

/** Undoes in the opposite order what was done. */
export class ScriptScope implements Scope {
  readonly #undo: (() => unknown)[] = [];

  teardown(undo: () => unknown): void {
    this.#undo.push(undo);
  }

  async end(): Promise<void> {
    for (const undo of this.#undo.splice(0).reverse()) await undo();
  }
}
