/** Time as a dependency, so that the simulator can own it. */
export interface Clock {
  /** Wall clock, whole seconds since 1970-01-01 UTC. */
  nowSeconds(): number;
  /** Monotonic, milliseconds, arbitrary origin. */
  monotonicMs(): number;
  sleepMs(ms: number): Promise<void>;
}

export const systemClock: Clock = {
  nowSeconds: () => Math.floor(Date.now() / 1000),
  monotonicMs: () => performance.now(),
  sleepMs: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
};
