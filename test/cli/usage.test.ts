/** The help is part of the interface: a change of it is a change of this file. */
import t from 'tap';
import { COMMANDS } from '../../src/cli/commands/index.js';
import { run } from '../../src/cli/run.js';
import { MemoryTerminal } from '../fixtures/terminal.js';

const help = async (words: string): Promise<string> => {
  const terminal = new MemoryTerminal();
  t.equal(
    await run(
      [...words.split(' '), '--help'].filter((w) => w !== ''),
      {},
      terminal,
    ),
    0,
  );
  t.equal(terminal.stderr, '');
  return terminal.stdout;
};

const USAGE = `Usage: remapctl [--control-socket=PATH] [--json] VERB ...

Look after volumes of vhost-user-remap.

  create        format blank spares for a main device
  discover      find volumes and tell whose each device is; never writes
  inspect       show what the metadata on a spare says; never writes
  check         check the metadata on all spares of a volume
  export        write the remap table for other programs; never changes it
  import        put sectors that cannot be read on record as pending
  status        show what a running back-end serves, and how well
  resize        make the volume as long as its main device has become
  resume        remap bad blocks again after an error storm
  remap list    list remapped extents and pending sectors
  remap add     move sectors to the spare before they fail
  remap remove  move sectors back to the main device
  inject add    plan failures of a device, for tests and demonstrations
  inject list   list planned failures and how often they were met
  inject clear  take back one planned failure, or all

  --control-socket=PATH   admin socket of the back-end; by default $REMAPCTL_SOCKET
  --json                  answer in one line of JSON
  --help                  this text
  --version               print the version

create, discover, inspect, check, export and import work on devices; the others talk to a running
back-end.
Exit status: 0 done, 1 failed, 2 bad usage, 3 done but degraded. See remapctl(1).
`;

const SOCKET = `\
  --control-socket=PATH   admin socket of the back-end; by default $REMAPCTL_SOCKET
`;

const GLOBAL = `\
  --json                  answer in one line of JSON
  --help                  this text
`;

const FORMATS = `\
  --format=FORMAT   json (the default), csv, badblocks, or ddrescue for its mapfile
  --block-size=N    of badblocks, bytes; it has to be told, for the lists do not say
`;

const VERBS: Readonly<Record<string, string>> = {
  create: `Usage: remapctl create MAIN --spare=SPARE... [OPTION]...

Format blank spares for a main device.

  --spare=SPARE             a spare, at least 8 MiB; may be given up to 8 times
  --name=NAME               name of the volume; by default the file name of MAIN
  --logical-block-size=N    512 or 4096, the unit of remapping; by default that of the devices
  --dry-run                 show what would be written and where, and write nothing
  --force                   format spares that are not blank; what is on them is lost
Nothing on MAIN is changed.

${GLOBAL}`,
  discover: `Usage: remapctl discover [PATH]...

Find volumes and tell whose each device is; never writes.

PATH is a block device, an image, or a directory of them; by default every block device.
Exit status 3 when a volume is not complete.

${GLOBAL}`,
  inspect: `Usage: remapctl inspect SPARE

Show what the metadata on a spare says; never writes.

Exit status 3 when not every copy is good, 1 when a back-end could not use them.

${GLOBAL}`,
  check: `Usage: remapctl check SPARE... [--repair | --rebuild --main=PATH]

Check the metadata on all spares of a volume.

  --repair       write damaged and stale copies again from a good one
  --rebuild      write the metadata anew from what the spare blocks say of themselves; refused
                 while any copy can still be used
  --main=PATH    with --rebuild, the main device; it is not written
  --volume=UUID  the volume to rebuild, where blocks of several stand on the spares
Where --rebuild would help, the check without it says what would be written.
Exit status 3 when something is wrong and the volume can be served, 1 when it cannot.

${GLOBAL}`,
  export: `Usage: remapctl export SPARE... [--format=FORMAT] [OPTION]...

Write the remap table for other programs; never changes it.

${FORMATS}\
  --view=VIEW       of badblocks and ddrescue: guest (what the guest cannot read; the default) or
                    media (where main failed, remapped or not)
  --output=FILE     a new file; by default standard output
All spares of the volume are to be named. What was committed last is written, also while a
back-end runs.

${GLOBAL}`,
  import: `Usage: remapctl import SPARE... --from=FILE [--format=FORMAT] [OPTION]...

Put sectors that cannot be read on record as pending.

${FORMATS}\
  --from=FILE       the list; - is standard input
  --dry-run         say what would be written, and write nothing
A read of a pending sector is tried and moves it to a spare if it succeeds; a write to it goes to
a spare at once. Sectors that are remapped already stay as they are. No back-end may run.

${GLOBAL}`,
  status: `Usage: remapctl status

Show what a running back-end serves, and how well.

Exit status 3 when a volume is degraded or failed, or a guest waits for it.

${SOCKET}${GLOBAL}`,
  resize: `Usage: remapctl resize

Make the volume as long as its main device has become.

Grow the main device first; the running guest sees the new size. A volume cannot shrink.

${SOCKET}${GLOBAL}`,
  resume: `Usage: remapctl resume

Remap bad blocks again after an error storm.

When main fails at places that worked before, no block is remapped, so that a dying cable
does not eat the spare. That ends by itself when main works again; this does not wait.

${SOCKET}${GLOBAL}`,
  'remap list': `Usage: remapctl remap list

List remapped extents and pending sectors.

LBA, COUNT and SPARE-LBA are 512-byte sectors.

${SOCKET}${GLOBAL}`,
  'remap add': `Usage: remapctl remap add LBA [COUNT] | --from=FILE

Move sectors to the spare before they fail.

  --from=FILE   many at once: lines "LBA [COUNT]", # starts a comment, - is stdin
LBA and COUNT are 512-byte sectors, decimal or 0x hexadecimal; COUNT is 1 if left out.
Exit status 3 when only some could be moved.

${SOCKET}${GLOBAL}`,
  'remap remove': `Usage: remapctl remap remove LBA [COUNT] | --from=FILE

Move sectors back to the main device.

  --from=FILE   many at once: lines "LBA [COUNT]", # starts a comment, - is stdin
LBA and COUNT are 512-byte sectors, decimal or 0x hexadecimal; COUNT is 1 if left out.
Exit status 3 when only some could be moved.

${SOCKET}${GLOBAL}`,
  'inject add': `Usage: remapctl inject add --kind=KIND --lba=N --count=N [OPTION]... | --from=FILE

Plan failures of a device, for tests and demonstrations.

  --kind=KIND       read-error, write-error or slow
  --lba=N           first sector of the device, of 512 bytes
  --count=N         sectors
  --times=N         how many I/Os to hit; without it every one
  --delay-ms=N      how long slow takes, by default 1000
  --errno=NAME      what an error is, by default EIO; ENODEV, ENOSPC, ETIMEDOUT, ...
  --percent=P       how many of the I/Os it meets a rule hits, by default 100; 0.0001 to 100
  --device=DEVICE   main (default), spare, or spare1 to spare7 for further spares
  --from=FILE       many at once: lines "KIND LBA COUNT [TIMES]", # starts a comment, - is stdin
The back-end must run with --allow-fault-injection.

${SOCKET}${GLOBAL}`,
  'inject list': `Usage: remapctl inject list

List planned failures and how often they were met.

TIMES is what is left; "ever" never ends.

${SOCKET}${GLOBAL}`,
  'inject clear': `Usage: remapctl inject clear [ID] [--device=DEVICE]

Take back one planned failure, or all.

  --device=DEVICE   main, spare, spare1 ...; by default all, and main where ID is given
IDs are those of inject list.

${SOCKET}${GLOBAL}`,
};

t.test('remapctl --help', async (t) => {
  t.equal(await help(''), USAGE);
});

t.test('each verb', async (t) => {
  t.strictSame(
    COMMANDS.map((command) => command.verb),
    Object.keys(VERBS),
  );
  for (const [verb, text] of Object.entries(VERBS)) t.equal(await help(verb), text, verb);
});

t.test('ASCII, 100 columns', async (t) => {
  for (const text of [USAGE, ...Object.values(VERBS)]) {
    t.notMatch(text, /[^\n\x20-\x7e]/);
    t.notMatch(text, /^.{101}/m);
  }
});
