/**
 * Every bound of the control plane, each with its derivation. The data plane's own bounds are in
 * native/limits.h.
 */

/** Copies of the superblock on a spare (design: five, so that one damaged zone cannot take all). */
export const METADATA_COPIES = 5;

/**
 * Copies a commit must be durable on before it counts. Four of five: any two readable copies then
 * include one that holds the newest acknowledged generation.
 */
export const COMMIT_QUORUM = 4;

/**
 * How far above all generations seen a rebuilt superblock stands: a copy that could not be read
 * then and can be later must not be newer. A day of a commit every 86 ms, none of them a remap.
 */
export const REBUILD_GENERATION_STEP = 1_000_000n;

/**
 * Tries of one read or write of the metadata. With one I/O in a hundred failing for a moment, a
 * copy is missed once in a million, and a commit may miss one copy of five.
 */
export const METADATA_TRIES = 3;

/**
 * Between two scrubs of the metadata while serving, seconds. Five copies of 24 KiB and their pages
 * are read in milliseconds; ten minutes keep two damages of different causes from meeting.
 */
export const METADATA_SCRUB_SECONDS = 600;
/** A week; what is rarer is better done by a restart. */
export const METADATA_SCRUB_SECONDS_MAX = 604_800;

/**
 * Rings that are to start while another back-end holds the volume are refused after this long. A
 * source lets go after one commit and one flush, below a second on a sound disk; and QEMU stands
 * still for as long as it waits for our answer.
 */
export const HAND_OVER_WAIT_MS = 5000;
/** Between two tries: it adds to the time for which a migrating guest stands still. */
export const HAND_OVER_RETRY_MS = 20;
/** Once they are refused: somebody has to act first. */
export const HAND_OVER_LATE_RETRY_MS = 500;

/**
 * Tries at reading metadata that another back-end may be writing at that moment. Its commits are
 * milliseconds long, and come singly but for a storm of errors.
 */
export const UNLOCKED_READS = 5;
export const UNLOCKED_READ_PAUSE_MS = 50;

/** Smallest spare: five zones of 1 MiB for metadata and 3 MiB of blocks to remap into. */
export const SPARE_MIN_BYTES = 8 * 1024 * 1024;

/** Largest request on the control socket: a bulk list of 100,000 extents is about 3 MB. */
export const CONTROL_REQUEST_MAX_BYTES = 64 * 1024 * 1024;

/** sockaddr_un.sun_path holds 108 bytes with its terminator. */
export const SOCKET_PATH_MAX_BYTES = 107;

/** QEMU asks for as many queues as the guest has vCPUs and refuses a back-end that offers fewer. */
export const QUEUES_DEFAULT = 16;
/** VHOST_USER_VRING_IDX_MASK is 8 bits wide; 64 queues serve every guest QEMU 10 can run well. */
export const QUEUES_MAX = 64;

/** Extents in one commit of `remap add`, `remap remove` (under one range lock) and `import`. */
export const MOVE_BATCH_EXTENTS = 1024;

/** Largest run moved at once, sectors: 1 MiB of bounce buffer. */
export const MOVE_EXTENT_MAX_SECTORS = 2048;

/**
 * Spare blocks found bad at once on a spare that took nothing meanwhile, at most: more than that is
 * the spare's cable, and its blocks are not given up for it. Half of the attempts for one block.
 */
export const SPARE_RETIRED_UNPROVEN_MAX = 8;

/**
 * Blocks of main that may go to a spare, or become pending, on the word of their own failure alone.
 * What fails beyond them must fail once more after main was seen to work elsewhere. A disk that is
 * wearing out stays far below; a dead cable costs this much and no more: 32 KiB of a spare.
 */
export const STORM_ALLOWANCE_BLOCKS = 64;
export const STORM_ALLOWANCE_BLOCKS_MAX = 65_536;

/** After which one block of the allowance comes back: all of it in about an hour. */
export const STORM_REFILL_MS = 60_000;

/** How long a first failure is remembered: the slowest disk fails again within minutes. */
export const STORM_SUSPECT_MS = 300_000;

/** First failures remembered: as many as 1,024 requests of 64 blocks. */
export const STORM_SUSPECTS_MAX = 65_536;

/**
 * Places read over all of main to learn whether it works; the path is dead when most fail. More
 * than a dead head or a scratch takes away, few enough to take 0.2 s on a disk that seeks.
 */
export const PROBE_PLACES = 16;
export const PROBE_AT_ONCE = 4;
/** A read that takes longer says as much as one that fails: far above any seek. */
export const PROBE_TIMEOUT_MS = 5000;
/** Places written again with what they hold, to learn whether main takes writes. */
export const PROBE_WRITES_MAX = 4;
/** Waiting for the guest's own writes to such a place; there are others. */
export const PROBE_LOCK_MS = 100;

/** Before the first look whether main works again, and the longest wait: who waits is a guest. */
export const STORM_RETRY_FIRST_MS = 1000;
export const STORM_RETRY_LAST_MS = 60_000;

/**
 * An I/O that has not returned for so long hangs. The kernel gives a disk 30 s for a command before
 * it resets it; a guest's kernel complains after 120 s.
 */
export const HUNG_IO_SECONDS = 40;
export const HUNG_IO_SECONDS_MAX = 3600;
/** Looks in that time: an age is told a quarter of it too young at most. */
export const HUNG_IO_LOOKS = 4;

/** Other spare blocks tried for one bad block before its write is failed. */
export const SPARE_ATTEMPTS_MAX = 16;

/**
 * How long a device may be held by somebody else before it is refused: a back-end that is on its
 * way out needs a fraction of it.
 */
export const LOCK_WAIT_MS = 1000;
/** A start is hardly later for it than the lock is free. */
export const LOCK_RETRY_MS = 20;
/**
 * The same where no process that runs has it open: the I/O of one that was killed has to end, and
 * the kernel gives up a disk's command after 30 s.
 */
export const LOCK_LINGER_MS = 30_000;
/** Every process is looked at in between. */
export const LOCK_LINGER_RETRY_MS = 200;
/** Between two looks whether a process answers, ms: 20 volumes are 100 short requests a second. */
export const SERVICE_LOOK_MS = 200;
/** First and longest wait before the process of a volume is started again, ms. */
export const SERVICE_RESTART_FIRST_MS = 500;
export const SERVICE_RESTART_MAX_MS = 30_000;
/** A process that ran so long did not fail at its start, ms. */
export const SERVICE_STEADY_MS = 60_000;
/** Between two looks for devices that came or went, ms: 200 of them take 200 stat calls. */
export const DISCOVERY_LOOK_MS = 2_000;
/** Processes started at a time: each takes a third of a second of CPU. */
export const SERVICES_STARTING_MAX = 4;
