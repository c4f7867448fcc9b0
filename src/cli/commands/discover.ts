import type { FoundVolume } from '../../discovery/assemble.js';
import { type DiscoveryReport, discover } from '../../discovery/discover.js';
import { type DiscoverAnswer, discoverAnswerSchema } from '../../protocol/device-answers.js';
import { type Command, EXIT, type ExitStatus, type Invocation } from '../command.js';
import { coloured, field, formatSectors, plural, printable } from '../render.js';
import { shellWord } from '../status-view.js';

const PATHS_MAX = 1024;

export const discoverCommand: Command = {
  verb: 'discover',
  synopsis: '[PATH]...',
  summary: 'find volumes and tell whose each device is; never writes',
  help: `PATH is a block device, an image, or a directory of them; by default every block device.
Exit status 3 when a volume is not complete.
`,
  offline: true,
  options: {},
  words: [0, PATHS_MAX],
  run,
};

async function run({ positionals, json, terminal }: Invocation): Promise<ExitStatus> {
  const answer = toAnswer(await discover(positionals));
  if (json) terminal.out(`${JSON.stringify(discoverAnswerSchema.parse(answer))}\n`);
  else terminal.out(render(answer, terminal.colour));
  return answer.volumes.every(({ verdict }) => verdict === 'complete') ? EXIT.done : EXIT.degraded;
}

function toAnswer({ looked, volumes, oddities }: DiscoveryReport): DiscoverAnswer {
  return {
    schema: 'discover/1',
    looked,
    volumes: volumes.map(toVolume),
    oddities: oddities.map((oddity) => ({ ...oddity })),
  };
}

function toVolume(volume: FoundVolume): DiscoverAnswer['volumes'][number] {
  const { uuid, name, verdict, confidence, reasons, generation, config, main, spares } = volume;
  return {
    uuid,
    name,
    verdict,
    confidence,
    reasons: [...reasons],
    generation: Number(generation),
    sizeSectors: config.main.sizeSectors,
    logicalBlockSize: config.logicalBlockSize,
    main: { path: main.path },
    spares: spares.map((spare) => {
      const newest = spare.generation === null ? null : Number(spare.generation);
      return { ...spare, generation: newest };
    }),
  };
}

const MOODS = {
  complete: 'good',
  degraded: 'warn',
  incomplete: 'bad',
  conflicting: 'bad',
} as const;

const SENTENCES = {
  complete: 'every device is there',
  degraded: 'it can be served, and a start mends it',
  incomplete: 'it cannot be served',
  conflicting: 'it is not served without your word: see which device is right, and name it',
} as const;

function render({ looked, volumes, oddities }: DiscoverAnswer, colour: boolean): string {
  const parts = volumes.map((volume) => renderVolume(volume, colour));
  const odd = oddities.map(({ path, why }) => `${printable(path)}: ${printable(why)}\n`).join('');
  const closing = `${plural(volumes.length, 'volume')} on ${plural(looked, 'device')}\n`;
  return [...parts, odd, closing].filter((part) => part !== '').join('\n');
}

function renderVolume(volume: DiscoverAnswer['volumes'][number], colour: boolean): string {
  const { name, uuid, verdict, reasons, main, spares, confidence } = volume;
  const state = coloured(verdict, MOODS[verdict], colour);
  const why = reasons.map(printable);
  const size = `${formatSectors(volume.sizeSectors)}, blocks of ${volume.logicalBlockSize} bytes`;
  const sure = confidence === 'weak' ? '; nothing proves that it is the right one' : '';
  return [
    field('volume', `${printable(name)} (${uuid})`),
    field('state', [`${state}: ${SENTENCES[verdict]}`, ...why].join('\n')),
    field('main', `${main.path === null ? 'not found' : printable(main.path)}, ${size}${sure}`),
    ...spares.map(({ path, generation, uuid: own }) =>
      field(
        'spare',
        path === null ? `${own}, not found` : `${printable(path)}, generation ${generation}`,
      ),
    ),
    serveLine(volume),
  ].join('');
}

function serveLine({ verdict, main, spares }: DiscoverAnswer['volumes'][number]): string {
  if (main.path === null || (verdict !== 'complete' && verdict !== 'degraded')) return '';
  const words = [
    `--blk-file=${main.path}`,
    ...spares.map(({ path }) => `--spare=${path}`),
    '--socket-path=SOCKET',
  ];
  return field('serve', `vhost-user-remap ${words.map(shellWord).join(' ')}`);
}
