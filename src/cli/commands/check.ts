import { systemClock } from '../../core/clock.js';
import { FileDevice } from '../../device/file-device.js';
import { checkSpares } from '../../metadata/check.js';
import { type CheckAnswer, checkAnswerSchema } from '../../protocol/device-answers.js';
import { type Command, EXIT, type ExitStatus, type Invocation } from '../command.js';
import { plural, printable } from '../render.js';
import { shellWord } from '../status-view.js';

const SPARES_MAX = 8;

export const checkCommand: Command = {
  verb: 'check',
  synopsis: 'SPARE... [--repair]',
  summary: 'check the metadata on all spares of a volume',
  help: `  --repair    write damaged and stale copies again from a good one
Exit status 3 when something is wrong and the volume can be served, 1 when it cannot.
`,
  offline: true,
  options: { repair: { type: 'boolean' } },
  words: [1, SPARES_MAX],
  run,
};

async function run({ values, positionals, json, terminal }: Invocation): Promise<ExitStatus> {
  const repair = values.repair === true;
  const devices: FileDevice[] = [];
  let answer: CheckAnswer;
  try {
    for (const path of positionals) {
      devices.push(FileDevice.open(path, { readOnly: !repair, exclusive: true }));
    }
    const report = await checkSpares(devices, { repair, clock: systemClock });
    answer = { schema: 'check/1', ...report };
  } finally {
    for (const device of devices) await device.close();
  }
  const parsed = checkAnswerSchema.parse(answer);
  terminal.out(json ? `${JSON.stringify(parsed)}\n` : render(answer, positionals, repair));
  if (answer.verdict === 'unusable') {
    const [problem] = answer.problems;
    terminal.err(`remapctl: ${printable(problem?.message ?? 'the spares cannot be used')}\n`);
  }
  return { whole: EXIT.done, degraded: EXIT.degraded, unusable: EXIT.failed }[answer.verdict];
}

function render(answer: CheckAnswer, paths: readonly string[], repair: boolean): string {
  const listed = answer.verdict === 'unusable' ? [] : answer.problems;
  const lines = listed.map(
    (p) => `${p.code}${p.repaired ? ' (repaired)' : ''}: ${printable(p.message)}`,
  );
  if (answer.moreProblems > 0) lines.push(`and ${plural(answer.moreProblems, 'problem')} more`);
  if (answer.verdict === 'degraded' && !repair) {
    lines.push(`to mend it: remapctl check ${paths.map(shellWord).join(' ')} --repair`);
  }
  lines.push(closing(answer));
  return lines.map((line) => `${line}\n`).join('');
}

function closing(answer: CheckAnswer): string {
  const of = `${printable(answer.name ?? '')} at generation ${answer.generation}`;
  const entries = plural(answer.entries, 'entry', 'entries');
  switch (answer.verdict) {
    case 'whole':
      return `whole: ${of}, ${entries}, every copy is good`;
    case 'degraded':
      return `degraded: ${of}, ${entries}; it can be served`;
    case 'unusable':
      return 'unusable: a back-end would not start with these spares, and nothing was written';
  }
}
