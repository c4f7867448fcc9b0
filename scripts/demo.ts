/** npm run demo: a guest keeps its files while sectors of its disk die, in about a minute. */

import { breakSectors, randomSectors } from '../vm/faults.js';
import type { GuestEvent } from '../vm/guest-channel.js';
import { inRoot } from '../vm/paths.js';
import { Vm } from '../vm/vm.js';

const MAIN_MIB = 256;
const SPARE_MIB = 16;
const BAD_SECTORS = 3000;
/** The first half of the superblock of ext4, written at every mount and sync. */
const SUPERBLOCK_SECTOR = 2;

const started = performance.now();

/** A line of the story, with the seconds since it began. */
function tell(who: string, text: string): void {
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${seconds.padStart(5)} s  ${who.padEnd(6)}  ${text}`);
}

function showGuest(event: GuestEvent): void {
  if (event.kind === 'booted') tell('guest', `runs Linux ${event.text}`);
  if (event.kind === 'step') tell('guest', event.text);
  if (event.kind === 'output') console.log(`                   ${event.text}`);
  if (event.kind === 'fail') tell('guest', `FAILED: ${event.text}`);
}

const sectors = randomSectors(BAD_SECTORS, (MAIN_MIB * 1024 * 1024) / 512).add(SUPERBLOCK_SECTOR);

/** I/O errors that the guest was given; the back-end counts from its own start. */
let guestErrors = 0;

const steps = {
  'break-sectors': async (vm: Vm): Promise<void> => {
    await breakSectors(vm, sectors);
    tell('host', `${sectors.size} sectors of main go bad, the filesystem's superblock among them`);
  },
  restart: async (vm: Vm): Promise<void> => {
    const { remaps, io } = await vm.remapctl.status();
    guestErrors += io.errors;
    tell('host', `stops the back-end; ${remaps.sectors} sectors live on the spare by now`);
    await vm.stopBackEnd();
    await vm.startBackEnd();
    await breakSectors(vm, sectors);
    tell('host', 'started it again on the same images, main as bad as before');
  },
};

async function play(vm: Vm): Promise<void> {
  tell('host', `makes main.img (${MAIN_MIB} MiB) and spare.img (${SPARE_MIB} MiB) in ${vm.dir}`);
  await vm.startBackEnd();
  tell('host', 'started vhost-user-remap; boots a guest on its disk');
  let verified = 0;
  await vm.runGuest({
    script: inRoot('scripts/demo/guest.sh'),
    steps,
    timeoutMs: 240_000,
    onEvent: (event) => {
      showGuest(event);
      if (event.kind === 'output' && /file\d+: OK$/.test(event.text)) verified += 1;
    },
  });
  const status = await vm.remapctl.status();
  tell('host', 'remapctl status');
  console.log(`\n${(await vm.remapctl.run('status')).trimEnd()}\n`);
  await vm.stopBackEnd();
  if (verified !== 24) throw new Error(`the guest verified ${verified} of its 24 files`);
  if (status.remaps.sectors === 0) throw new Error('no bad sector was met');
  guestErrors += status.io.errors;
  if (guestErrors > 0) throw new Error(`the guest was given ${guestErrors} I/O errors`);
  console.log(
    `The guest's ${verified} files are all as it wrote them: it met ${status.remaps.sectors} of ` +
      `${sectors.size} bad sectors and a restart of the back-end, and saw no error.`,
  );
}

process.once('SIGINT', () => process.exit(130));
const vm = new Vm({ mainMiB: MAIN_MIB, spareMiB: SPARE_MIB });
try {
  await play(vm);
} catch (error) {
  console.error(`The demo failed: ${error instanceof Error ? error.message : String(error)}`);
  console.error(vm.evidence());
  process.exitCode = 1;
} finally {
  await vm.dispose();
}
