import { writeFile } from 'node:fs/promises';
import { systemClock } from '../../core/clock.js';
import { usageError } from '../../core/command-line.js';
import { RemapError } from '../../core/errors.js';
import { FileDevice } from '../../device/file-device.js';
import { MetadataStore } from '../../metadata/store.js';
import { SPARES_MAX } from '../../ondisk/config.js';
import { compareEntries, type TableEntry } from '../../ondisk/entry.js';
import { type ExportAnswer, exportAnswerSchema } from '../../protocol/device-answers.js';
import { type Command, EXIT, type ExitStatus, type Invocation } from '../command.js';
import { formatBadblocks } from '../exchange/badblocks.js';
import { formatCsv } from '../exchange/csv.js';
import { badRuns, type MapRow } from '../exchange/map.js';
import { formatMapfile } from '../exchange/mapfile.js';
import {
  badblocksSize,
  FORMAT_HELP,
  FORMAT_OPTIONS,
  formatOf,
  viewOf,
} from '../exchange/options.js';

export const exportCommand: Command = {
  verb: 'export',
  synopsis: 'SPARE... [--format=FORMAT] [OPTION]...',
  summary: 'write the remap table for other programs; never changes it',
  help: `${FORMAT_HELP}\
  --view=VIEW       of badblocks and ddrescue: guest (what the guest cannot read; the default) or
                    media (where main failed, remapped or not)
  --output=FILE     a new file; by default standard output
All spares of the volume are to be named. What was committed last is written, also while a
back-end runs.
`,
  offline: true,
  options: { ...FORMAT_OPTIONS, view: { type: 'string' }, output: { type: 'string' } },
  words: [1, SPARES_MAX],
  run,
};

async function run({ values, positionals, json, terminal }: Invocation): Promise<ExitStatus> {
  const format = json && values.format === undefined ? 'json' : formatOf(values);
  if (json && format !== 'json') throw usageError(`--json and --format=${format} are two formats`);
  const view = viewOf(values, format);
  const blockSize = format === 'badblocks' ? badblocksSize(values) : 0;
  const map = await readMap(positionals);
  const text = {
    json: () => `${JSON.stringify(exportAnswerSchema.parse(map))}\n`,
    csv: () => formatCsv(map.rows),
    badblocks: () => formatBadblocks(badRuns(map.rows, view), blockSize),
    ddrescue: () => {
      const title = `${view} view of ${map.name} at generation ${map.generation}`;
      return formatMapfile(badRuns(map.rows, view), map.sizeSectors, title);
    },
  }[format]();
  if (typeof values.output === 'string') await writeNew(values.output, text);
  else terminal.out(text);
  return EXIT.done;
}

async function readMap(paths: readonly string[]): Promise<ExportAnswer> {
  const devices: FileDevice[] = [];
  try {
    for (const path of paths) {
      devices.push(FileDevice.open(path, { readOnly: true, exclusive: false }));
    }
    const store = await MetadataStore.open(devices, { repair: false, clock: systemClock });
    const { name, main, logicalBlockSize } = store.config;
    return {
      schema: 'export/1',
      name,
      uuid: store.volumeUuid,
      generation: Number(store.generation),
      sizeSectors: main.sizeSectors,
      logicalBlockSize,
      rows: [...store.entries()].sort(compareEntries).map(toRow),
    };
  } finally {
    for (const device of devices) await device.close();
  }
}

function toRow(entry: TableEntry): MapRow {
  const { kind, start, count, spareIndex, spareStart, cause, evidence, timeSeconds } = entry;
  return {
    kind,
    lba: start,
    count,
    spare: kind === 'pending' ? null : spareIndex,
    spareLba: kind === 'remapped' ? spareStart : null,
    cause,
    evidence,
    time: new Date(timeSeconds * 1000).toISOString(),
  };
}

/** Never over a file that is there: it may be a device, or the only copy of another map. */
async function writeNew(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text, { flag: 'wx' });
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error';
    const why = code === 'EEXIST' ? 'it is there already' : code;
    throw new RemapError('DEVICE_OPEN', `${path} cannot be made (${why}); name a new file.`, {
      cause,
    });
  }
}
