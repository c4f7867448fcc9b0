import { z } from 'zod';
import { systemClock } from '../../core/clock.js';
import { usageError } from '../../core/command-line.js';
import { RemapError } from '../../core/errors.js';
import { MOVE_BATCH_EXTENTS } from '../../core/limits.js';
import { SECTOR_SIZE } from '../../core/units.js';
import { FileDevice } from '../../device/file-device.js';
import { MetadataStore } from '../../metadata/store.js';
import { SPARES_MAX } from '../../ondisk/config.js';
import { tableEntry } from '../../ondisk/entry.js';
import {
  exportAnswerSchema,
  type ImportAnswer,
  importAnswerSchema,
} from '../../protocol/device-answers.js';
import { gapsIn, type Run, unionOf } from '../../remap/edit-runs.js';
import { RemapTable } from '../../remap/remap-table.js';
import { type Command, EXIT, type ExitStatus, type Invocation } from '../command.js';
import { parseBadblocks } from '../exchange/badblocks.js';
import { parseCsv } from '../exchange/csv.js';
import { type MapRow, wholeBlocks } from '../exchange/map.js';
import { parseMapfile } from '../exchange/mapfile.js';
import { badblocksSize, FORMAT_HELP, FORMAT_OPTIONS, formatOf } from '../exchange/options.js';
import { readText } from '../extent-list.js';
import { plural } from '../render.js';

export const importCommand: Command = {
  verb: 'import',
  synopsis: 'SPARE... --from=FILE [--format=FORMAT] [OPTION]...',
  summary: 'put sectors that cannot be read on record as pending',
  help: `${FORMAT_HELP}\
  --from=FILE       the list; - is standard input
  --dry-run         say what would be written, and write nothing
A read of a pending sector is tried and moves it to a spare if it succeeds; a write to it goes to
a spare at once. Sectors that are remapped already stay as they are. No back-end may run.
`,
  offline: true,
  options: { ...FORMAT_OPTIONS, from: { type: 'string' }, 'dry-run': { type: 'boolean' } },
  words: [1, SPARES_MAX],
  run,
};

async function run({ values, positionals, json, terminal }: Invocation): Promise<ExitStatus> {
  const format = formatOf(values);
  const blockSize = format === 'badblocks' ? badblocksSize(values) : 0;
  const { from } = values;
  if (typeof from !== 'string') throw usageError('import needs --from=FILE, or - for stdin');
  const text = await readText(from, terminal);
  const wanted = {
    json: () => wantedOf(parseJson(text)),
    csv: () => wantedOf(parseCsv(text)),
    badblocks: () => ({ bad: parseBadblocks(text, blockSize), elsewhere: [] }),
    ddrescue: () => ({ bad: parseMapfile(text), elsewhere: [] }),
  }[format]();
  const answer = await importInto(positionals, wanted, values['dry-run'] === true);
  terminal.out(json ? `${JSON.stringify(importAnswerSchema.parse(answer))}\n` : render(answer));
  return EXIT.done;
}

interface Wanted {
  readonly bad: readonly Run[];
  /** Said to be remapped: main holds old data there, so they must be remapped here as well. */
  readonly elsewhere: readonly Run[];
}

function wantedOf(rows: readonly MapRow[]): Wanted {
  const of = (kind: MapRow['kind']): Run[] =>
    rows.filter((row) => row.kind === kind).map(({ lba, count }) => ({ start: lba, count }));
  return { bad: of('pending'), elsewhere: of('remapped') };
}

function parseJson(text: string): readonly MapRow[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (e) {
    throw usageError(`this is no JSON (${e instanceof Error ? e.message : e}); nothing was done`);
  }
  const parsed = exportAnswerSchema.safeParse(value);
  if (parsed.success) return parsed.data.rows;
  const why = z.prettifyError(parsed.error).replace(/\s+/g, ' ');
  throw usageError(`this is not what export writes: ${why}; nothing was done`);
}

async function importInto(
  paths: readonly string[],
  wanted: Wanted,
  dryRun: boolean,
): Promise<ImportAnswer> {
  const devices: FileDevice[] = [];
  try {
    for (const path of paths) {
      devices.push(FileDevice.open(path, { readOnly: dryRun, exclusive: true }));
    }
    const store = await MetadataStore.open(devices, { repair: !dryRun, clock: systemClock });
    const table = new RemapTable();
    table.load(store.entries());
    requireRemapped(wanted.elsewhere, table);
    const blocks = wholeBlocks(wanted.bad, store.config.logicalBlockSize / SECTOR_SIZE);
    requireInside(blocks, store.config.main.sizeSectors);
    const fresh = blocks.flatMap((run) => gapsIn(run, knownIn(run, table)));
    if (!dryRun && fresh.length > 0) await commitPending(store, table, fresh);
    return {
      schema: 'import/1',
      state: dryRun ? 'planned' : 'imported',
      requested: sum(blocks),
      added: sum(fresh),
      known: sum(blocks) - sum(fresh),
      generation: Number(store.generation),
    };
  } finally {
    for (const device of devices) await device.close();
  }
}

async function commitPending(
  store: MetadataStore,
  table: RemapTable,
  runs: readonly Run[],
): Promise<void> {
  const timeSeconds = systemClock.nowSeconds();
  for (let at = 0; at < runs.length; at += MOVE_BATCH_EXTENTS) {
    const pending = runs
      .slice(at, at + MOVE_BATCH_EXTENTS)
      .map((run) => tableEntry({ ...run, kind: 'pending', cause: 'administrator', timeSeconds }));
    const change = table.plan({ pending });
    await store.commit(change);
    table.apply(change);
  }
}

const knownIn = ({ start, count }: Run, table: RemapTable): Run[] =>
  unionOf([...table.remappedIn(start, count), ...table.pendingIn(start, count)]);

function requireRemapped(runs: readonly Run[], table: RemapTable): void {
  for (const run of runs) {
    const [gap] = gapsIn(run, unionOf(table.remappedIn(run.start, run.count)));
    if (gap === undefined) continue;
    throw new RemapError(
      'NOT_REMAPPED',
      `The list says that ${plural(gap.count, 'sector')} from ${gap.start} are on a spare, and ` +
        'here they are not: main holds old data there; leave those lines out only if you know ' +
        'better.',
      { context: { lba: gap.start, count: gap.count } },
    );
  }
}

function requireInside(runs: readonly Run[], sizeSectors: number): void {
  const last = runs.at(-1);
  if (last === undefined || last.start + last.count <= sizeSectors) return;
  throw new RemapError(
    'RANGE',
    `The list names sector ${last.start + last.count - 1} and the volume ends at sector ` +
      `${sizeSectors}; is it of this disk, and the block size right?`,
    { context: { lba: last.start, count: last.count, need: sizeSectors } },
  );
}

function render({ state, added, known }: ImportAnswer): string {
  const verb = state === 'planned' ? 'would be pending' : 'pending now';
  const rest = known > 0 ? `; ${plural(known, 'sector')} pending or remapped before` : '';
  return `${plural(added, 'sector')} ${verb}${rest}\n`;
}

const sum = (runs: readonly Run[]): number => runs.reduce((total, run) => total + run.count, 0);
