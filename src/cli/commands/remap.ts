import { usageError } from '../../core/command-line.js';
import { call } from '../../protocol/client.js';
import type { ExtentMessage, MoveReport, RemapAnswer } from '../../protocol/messages.js';
import { type Command, EXIT, type ExitStatus, type Invocation } from '../command.js';
import { parseExtent, readList } from '../extent-list.js';
import { formatSectors, plural, table } from '../render.js';

const FROM_OPTION = { from: { type: 'string' } } as const;
const FROM_HELP =
  '  --from=FILE   many at once: lines "LBA [COUNT]", # starts a comment, - is stdin\n' +
  'LBA and COUNT are 512-byte sectors, decimal or 0x hexadecimal; COUNT is 1 if left out.\n';

export const remapListCommand: Command = {
  verb: 'remap list',
  synopsis: '',
  summary: 'list remapped extents and pending sectors',
  help: 'LBA, COUNT and SPARE-LBA are 512-byte sectors.\n',
  options: {},
  words: [0, 0],
  run: list,
};

export const remapAddCommand: Command = {
  verb: 'remap add',
  synopsis: 'LBA [COUNT] | --from=FILE',
  summary: 'move sectors to the spare before they fail',
  help: `${FROM_HELP}Exit status 3 when only some could be moved.\n`,
  options: FROM_OPTION,
  words: [0, 2],
  run: (invocation) => move(invocation, 'remap add'),
};

export const remapRemoveCommand: Command = {
  verb: 'remap remove',
  synopsis: 'LBA [COUNT] | --from=FILE',
  summary: 'move sectors back to the main device',
  help: `${FROM_HELP}Exit status 3 when only some could be moved.\n`,
  options: FROM_OPTION,
  words: [0, 2],
  run: (invocation) => move(invocation, 'remap remove'),
};

async function list(invocation: Invocation): Promise<ExitStatus> {
  const answer = await call(invocation.controlSocket(), { verb: 'remap list' });
  const { terminal } = invocation;
  if (invocation.json) terminal.out(`${JSON.stringify(answer)}\n`);
  else if (answer.action === 'list') terminal.out(renderList(answer));
  return EXIT.done;
}

function renderList({ remaps, pending }: Extract<RemapAnswer, { action: 'list' }>): string {
  const sum = (rows: readonly { count: number }[]) => rows.reduce((n, row) => n + row.count, 0);
  const remapTable = table(
    ['LBA', 'COUNT', 'SPARE', 'SPARE-LBA', 'CAUSE', 'EVIDENCE', 'TIME'],
    remaps.map((r) => [r.lba, r.count, r.spare, r.spareLba, r.cause, r.evidence, r.time]),
  );
  const pendingTable = table(
    ['LBA', 'COUNT', 'CAUSE', 'EVIDENCE', 'TIME'],
    pending.map((r) => [r.lba, r.count, r.cause, r.evidence, r.time]),
  );
  return (
    (remaps.length > 0 ? `${remapTable}\n` : '') +
    `remapped: ${plural(remaps.length, 'extent')}, ${formatSectors(sum(remaps))}\n` +
    (pending.length > 0 ? `\n${pendingTable}\n` : '') +
    `pending: ${plural(pending.length, 'extent')}, ${formatSectors(sum(pending))}\n`
  );
}

async function move(
  invocation: Invocation,
  verb: 'remap add' | 'remap remove',
): Promise<ExitStatus> {
  const extents = await readExtents(invocation, verb);
  const answer = await call(invocation.controlSocket(), { verb, extents });
  if (answer.action === 'list') throw new Error('a list answers a move');
  const text = invocation.json ? `${JSON.stringify(answer)}\n` : renderMove(answer);
  invocation.terminal.out(text);
  if (answer.failed + answer.pending === 0) return EXIT.done;
  return answer.moved + answer.skipped === 0 ? EXIT.failed : EXIT.degraded;
}

async function readExtents(invocation: Invocation, verb: string): Promise<ExtentMessage[]> {
  const [lba, count] = invocation.positionals;
  const from = invocation.values.from;
  if (typeof from === 'string') {
    if (lba !== undefined) throw usageError('LBA and --from exclude each other; give one of them');
    return readList(from, invocation.terminal, (words) => {
      if (words.length > 2) throw usageError(`expected "LBA [COUNT]", not '${words.join(' ')}'`);
      return parseExtent(words[0] ?? '', words[1]);
    });
  }
  if (lba === undefined) throw usageError(`${verb} needs LBA [COUNT] or --from=FILE`);
  return [parseExtent(lba, count)];
}

function renderMove(report: MoveReport & { action: 'add' | 'remove' }): string {
  const where = report.action === 'add' ? 'to the spare' : 'back to the main device';
  const rest = [
    report.skipped > 0 ? `${plural(report.skipped, 'sector')} already there` : '',
    report.pending > 0 ? `${plural(report.pending, 'sector')} unreadable and now pending` : '',
    report.failed > 0 ? `${plural(report.failed, 'sector')} failed and left as they were` : '',
  ].filter((part) => part !== '');
  return `${[`moved ${plural(report.moved, 'sector')} ${where}`, ...rest].join('; ')}\n`;
}
