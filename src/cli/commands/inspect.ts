import { FileDevice } from '../../device/file-device.js';
import { inspectSpare } from '../../metadata/inspect.js';
import { type InspectAnswer, inspectAnswerSchema } from '../../protocol/device-answers.js';
import { type Command, EXIT, type ExitStatus, type Invocation } from '../command.js';
import { type Cell, field, formatSectors, plural, printable, table } from '../render.js';
import { shellWord } from '../status-view.js';

export const inspectCommand: Command = {
  verb: 'inspect',
  synopsis: 'SPARE',
  summary: 'show what the metadata on a spare says; never writes',
  help: 'Exit status 3 when not every copy is good, 1 when a back-end could not use them.\n',
  offline: true,
  options: {},
  words: [1, 1],
  run,
};

async function run({ positionals, json, terminal }: Invocation): Promise<ExitStatus> {
  const [path] = positionals as [string];
  // Not exclusive: it only reads, and may look at what a back-end holds.
  const device = FileDevice.open(path, { readOnly: true, exclusive: false });
  let answer: InspectAnswer;
  try {
    answer = { schema: 'inspect/1', ...(await inspectSpare(device)) };
  } finally {
    await device.close();
  }
  if (json) terminal.out(`${JSON.stringify(inspectAnswerSchema.parse(answer))}\n`);
  // A blank device has nothing to show.
  else if (answer.verdict !== 'absent') terminal.out(render(answer));
  if (answer.verdict !== 'ok') {
    terminal.err(`remapctl: ${printable(path)} ${VERDICTS[answer.verdict]}\n`);
    return EXIT.failed;
  }
  return answer.copies.every((copy) => copy.state === 'good') ? EXIT.done : EXIT.degraded;
}

const VERDICTS: Readonly<Record<Exclude<InspectAnswer['verdict'], 'ok'>, string>> = {
  old:
    'has lost its newest metadata: blocks on it are described as newer than any copy; see what ' +
    'can be rebuilt with remapctl check',
  absent: 'carries no metadata: it is blank, or is no spare; format it with remapctl create',
  lost:
    'had metadata and no copy of it can be used; keep it as it is, and see what can be rebuilt ' +
    'with remapctl check',
  fork: 'carries two states of one generation; keep it as it is until you know which is right',
  foreign: 'carries copies of different volumes; keep it as it is until you know which is right',
};

function render(answer: InspectAnswer): string {
  const { config, table: tables, health } = answer;
  return [
    field('spare', `${printable(answer.path)}, ${formatSectors(answer.sizeSectors)}`),
    field('state', stateLine(answer)),
    answer.source?.sound === false
      ? field('source', 'a damaged copy: what follows may be wrong')
      : '',
    config === null ? '' : renderConfig(answer, config),
    tables === null ? '' : renderTally(tables),
    health === null ? '' : field('health', healthLine(health)),
    '\n',
    table(['COPY', 'OFFSET', 'STATE', 'SLOT', 'HOLDS', 'COMMITTED'], slotRows(answer)),
  ].join('');
}

function stateLine(answer: InspectAnswer): string {
  if (answer.verdict === 'old') {
    const { generation, describedGeneration } = answer;
    return `generation ${generation} is left, blocks are described as of ${describedGeneration}`;
  }
  if (answer.verdict !== 'ok') return `${answer.verdict}: ${VERDICTS[answer.verdict]}`;
  const good = answer.copies.filter((copy) => copy.state === 'good').length;
  const mayBeOld = answer.mayBeOld ? '\ntoo little can be read to be sure it is the newest' : '';
  const repair =
    good === answer.copies.length
      ? ''
      : '\na start of the back-end mends them, or: ' +
        `remapctl check ${shellWord(answer.path)} --repair`;
  return (
    `generation ${answer.generation}, ${good} of ${answer.copies.length} copies good` +
    `${mayBeOld}${repair}`
  );
}

function renderConfig(answer: InspectAnswer, config: NonNullable<InspectAnswer['config']>): string {
  const blocks = `blocks of ${config.logicalBlockSize} bytes`;
  const of = config.spares.findIndex((spare) => spare.uuid === answer.spareUuid) + 1;
  return [
    field('volume', `${printable(config.name)} (${answer.volumeUuid})`),
    field('main', `${deviceLine(config.main)}, ${blocks}`),
    ...config.spares.map((spare) => field('spares', deviceLine(spare))),
    field('this is', `spare ${of} of ${config.spares.length} (${answer.spareUuid})`),
  ].join('');
}

const deviceLine = (d: NonNullable<InspectAnswer['config']>['main']): string =>
  `${printable(d.pathHint)}, ${formatSectors(d.sizeSectors)}` +
  (d.identity === '' ? '' : `, ${printable(d.identity)}`);

function renderTally(t: NonNullable<InspectAnswer['table']>): string {
  const line = (tally: { extents: number; sectors: number }): string =>
    `${plural(tally.extents, 'extent')}, ${formatSectors(tally.sectors)}`;
  const lacking = t.pages.filter((page) => page.zones === 0).length;
  const pages =
    `${plural(t.inlineEntries, 'entry', 'entries')} in the superblock, ` +
    `${plural(t.pages.length, 'page')}${lacking > 0 ? `, ${lacking} of them lost` : ''}`;
  return [
    field('remapped', line(t.remapped)),
    field('pending', line(t.pending)),
    field('retired', line(t.retired)),
    field('table', pages),
  ].join('');
}

const healthLine = (h: NonNullable<InspectAnswer['health']>): string =>
  `sectors reallocated ${h.reallocatedTotal}, recovered ${h.recoveredTotal}, of spares retired ` +
  `${h.spareRetiredTotal}\ndevice errors: read ${h.readErrorsTotal}, write ` +
  `${h.writeErrorsTotal}; metadata copies repaired ${h.metadataRepairsTotal}`;

function slotRows(answer: InspectAnswer): Cell[][] {
  return answer.copies.flatMap((copy, copyIndex) =>
    copy.slots.map((slot, slotIndex) => [
      slotIndex === 0 ? String(copyIndex) : '',
      slotIndex === 0 ? String(copy.offset) : '',
      slotIndex === 0 ? copy.state : '',
      slotIndex,
      holds(slot),
      slot.committedSeconds === undefined
        ? ''
        : new Date(slot.committedSeconds * 1000).toISOString(),
    ]),
  );
}

function holds(slot: InspectAnswer['copies'][number]['slots'][number]): string {
  if (slot.kind === 'valid') {
    return `generation ${slot.generation}${slot.inPlace === false ? ', misplaced' : ''}`;
  }
  if (slot.kind !== 'damaged') return slot.kind;
  return `damaged: ${slot.damage.map(({ section }) => section).join(', ')}`;
}
