/** Time as a dependency, so that the simulator can own it. */
export interface Clock {
  /** Wall clock, whole seconds since 1970-01-01 UTC. */
  nowSeconds(): number;
  /** Monotonic, milliseconds, arbitrary origin. */
  monotonicMs(): number;
  sleepMs(ms: number): Promise<void>;
  /**
   * Runs `run` once, that much later; the answer cancels it. Keeps no process alive that has
   * nothing else to do.
   */
  after(ms: number, run: () => void): () => void;
}

export const systemClock: Clock = {
  nowSeconds: () => Math.floor(Date.now() / 1000),
  monotonicMs: () => performance.now(),
  sleepMs: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  after: (ms, run) => {
    const timer = setTimeout(run, ms).unref();
    return () => clearTimeout(timer);
  },
};
