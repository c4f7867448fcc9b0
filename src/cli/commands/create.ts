import { systemClock } from '../../core/clock.js';
import { usageError } from '../../core/command-line.js';
import { RemapError } from '../../core/errors.js';
import { SECTOR_SIZE } from '../../core/units.js';
import { createVolume, type FormatReport } from '../../metadata/format.js';
import { layoutOf } from '../../ondisk/layout.js';
import type { CreateAnswer } from '../../protocol/device-answers.js';
import { type Command, EXIT, type ExitStatus, type Invocation } from '../command.js';
import { field, formatBytes, formatSectors, printable, table } from '../render.js';

export const createCommand: Command = {
  verb: 'create',
  synopsis: 'MAIN --spare=SPARE... [OPTION]...',
  summary: 'format blank spares for a main device',
  help: `  --spare=SPARE             a spare, at least 8 MiB; may be given up to 8 times
  --name=NAME               name of the volume; by default the file name of MAIN
  --logical-block-size=N    512 or 4096, the unit of remapping; by default that of the devices
  --dry-run                 show what would be written and where, and write nothing
  --force                   format spares that are not blank; what is on them is lost
Nothing on MAIN is changed.
`,
  offline: true,
  options: {
    spare: { type: 'string', multiple: true },
    name: { type: 'string' },
    'logical-block-size': { type: 'string' },
    'dry-run': { type: 'boolean' },
    force: { type: 'boolean' },
  },
  words: [1, 1],
  run,
};

async function run({ values, positionals, json, terminal }: Invocation): Promise<ExitStatus> {
  const [main] = positionals as [string];
  if (!Array.isArray(values.spare)) throw usageError('create needs --spare=SPARE, a blank device');
  const report = await createVolume(main, values.spare, {
    name: typeof values.name === 'string' ? values.name : undefined,
    logicalBlockSize: parseBlockSize(values['logical-block-size']),
    force: values.force === true,
    dryRun: values['dry-run'] === true,
    clock: systemClock,
  });
  if (report.state === 'existing') throw alreadyMade(report);
  const answer = toAnswer(report, report.state);
  terminal.out(json ? `${JSON.stringify(answer)}\n` : render(answer));
  return EXIT.done;
}

function parseBlockSize(text: unknown): 512 | 4096 | undefined {
  if (text === undefined) return undefined;
  if (text === '512' || text === '4096') return Number(text) as 512 | 4096;
  throw usageError(`--logical-block-size is 512 or 4096, not '${text}'`);
}

function alreadyMade({ spares, name, mainPath }: FormatReport): RemapError {
  const paths = spares.map((spare) => spare.path).join(', ');
  return new RemapError(
    'SPARE_NOT_BLANK',
    `${paths} is formatted for ${mainPath} already, as the volume ${name}; start ` +
      'vhost-user-remap with it, or give --force if its remapped data may be lost',
    { context: { device: paths } },
  );
}

function toAnswer(report: FormatReport, state: CreateAnswer['state']): CreateAnswer {
  const logicalBlockSize = report.logicalBlockSize as 512 | 4096;
  return {
    schema: 'create/1',
    state,
    volume: {
      name: report.name,
      uuid: report.volumeUuid,
      mainPath: report.mainPath,
      sizeSectors: report.mainSectors,
      logicalBlockSize,
    },
    spares: report.spares.map((spare) => {
      const layout = layoutOf(spare.sizeSectors * SECTOR_SIZE, logicalBlockSize);
      const { path, sizeSectors, dataSectors: totalSectors, contents } = spare;
      const zones = layout.zoneOffsets.map((offset) => ({ offset, sizeBytes: layout.zoneSize }));
      return { path, sizeSectors, totalSectors, contents, zones };
    }),
    ample: report.ample,
  };
}

const HEADLINES: Readonly<Record<CreateAnswer['state'], string>> = {
  created: 'created',
  planned: 'not written yet: this is what create would do without --dry-run',
};

function render({ state, volume, spares, ample }: CreateAnswer): string {
  const uuid = volume.uuid === null ? '' : ` (${volume.uuid})`;
  const size = formatSectors(volume.sizeSectors);
  const rows = spares.flatMap((spare) =>
    spare.zones.map((zone, copy) => [
      spare.path,
      copy,
      zone.offset,
      zone.offset + zone.sizeBytes - 1,
    ]),
  );
  return [
    field('volume', `${printable(volume.name)}${uuid}`),
    field('state', HEADLINES[state]),
    field(
      'main',
      `${printable(volume.mainPath)}, ${size}, blocks of ${volume.logicalBlockSize} bytes`,
    ),
    ...spares.map((spare) => field('spare', spareLine(spare, state))),
    ample
      ? ''
      : field('note', 'the spares take less than a hundredth of main; larger ones last longer'),
    '\nmetadata, in bytes of the spare:\n',
    table(['SPARE', 'COPY', 'FIRST', 'LAST'], rows),
  ].join('');
}

function spareLine(spare: CreateAnswer['spares'][number], state: CreateAnswer['state']): string {
  const room = `${formatSectors(spare.totalSectors)} to remap into`;
  const verb = state === 'planned' ? 'would destroy' : 'destroyed';
  const before = spare.contents === null ? '' : `; ${verb}: ${printable(spare.contents)}`;
  const size = formatBytes(spare.sizeSectors * SECTOR_SIZE);
  return `${printable(spare.path)}, ${size}, ${room}${before}`;
}
