import { systemClock } from '../../core/clock.js';
import { usageError } from '../../core/command-line.js';
import { isRemapError } from '../../core/errors.js';
import { openDevices } from '../../device/device-set.js';
import { FileDevice } from '../../device/file-device.js';
import { describeDevice, requireMain } from '../../metadata/binding.js';
import { checkSpares } from '../../metadata/check.js';
import { nameOf, requireWholeBlocks } from '../../metadata/format.js';
import { writeRebuilt } from '../../metadata/rebuild.js';
import { planOf, type RebuildPlan, surveySpares } from '../../metadata/survey.js';
import { SPARES_MAX } from '../../ondisk/config.js';
import { type CheckAnswer, checkAnswerSchema } from '../../protocol/device-answers.js';
import { type Command, EXIT, type ExitStatus, type Invocation } from '../command.js';
import { plural, printable } from '../render.js';
import { shellWord } from '../status-view.js';

export const checkCommand: Command = {
  verb: 'check',
  synopsis: 'SPARE... [--repair | --rebuild --main=PATH]',
  summary: 'check the metadata on all spares of a volume',
  help: `  --repair       write damaged and stale copies again from a good one
  --rebuild      write the metadata anew from what the spare blocks say of themselves; refused
                 while any copy can still be used
  --main=PATH    with --rebuild, the main device; it is not written
  --volume=UUID  the volume to rebuild, where blocks of several stand on the spares
Where --rebuild would help, the check without it says what would be written.
Exit status 3 when something is wrong and the volume can be served, 1 when it cannot.
`,
  offline: true,
  options: {
    repair: { type: 'boolean' },
    rebuild: { type: 'boolean' },
    main: { type: 'string' },
    volume: { type: 'string' },
  },
  words: [1, SPARES_MAX],
  run,
};

/** What a rebuild is the remedy for. */
const REBUILDABLE = ['META_LOST', 'META_OLD', 'META_ABSENT'];

async function run(invocation: Invocation): Promise<ExitStatus> {
  const { values, positionals, json, terminal } = invocation;
  const { repair, rebuild } = { repair: values.repair === true, rebuild: values.rebuild === true };
  if (repair && rebuild) throw usageError('--repair and --rebuild do not go together; give one');
  if (values.main !== undefined && !rebuild) throw usageError('--main goes with --rebuild only');
  const volumeUuid = values.volume === undefined ? undefined : uuidOf(String(values.volume));
  const answer = rebuild
    ? await rebuilt(mainOf(values), positionals, volumeUuid)
    : await checked(positionals, repair, volumeUuid);
  const parsed = checkAnswerSchema.parse(answer);
  terminal.out(json ? `${JSON.stringify(parsed)}\n` : render(answer, positionals, repair));
  if (answer.verdict === 'unusable') {
    const [problem] = answer.problems;
    terminal.err(`remapctl: ${printable(problem?.message ?? 'the spares cannot be used')}\n`);
  }
  const lossy = answer.rebuild?.done === true && isLossy(answer.rebuild);
  if (answer.verdict === 'whole' && lossy) return EXIT.degraded;
  return { whole: EXIT.done, degraded: EXIT.degraded, unusable: EXIT.failed }[answer.verdict];
}

async function checked(
  paths: readonly string[],
  repair: boolean,
  volumeUuid: string | undefined,
): Promise<CheckAnswer> {
  const devices: FileDevice[] = [];
  try {
    for (const path of paths) {
      devices.push(FileDevice.open(path, { readOnly: !repair, exclusive: true }));
    }
    const report = await checkSpares(devices, { repair, clock: systemClock });
    const problems = [...report.problems];
    let plan: RebuildPlan | undefined;
    if (report.verdict === 'unusable' && REBUILDABLE.includes(problems[0]?.code ?? '')) {
      try {
        const survey = { volumeUuid, nowSeconds: systemClock.nowSeconds() };
        plan = planOf(await surveySpares(devices, survey));
      } catch (e) {
        if (!isRemapError(e)) throw e;
        // A blank device is told about once.
        const { code, message } = e;
        if (code !== 'META_ABSENT') problems.push({ code, message, where: {}, repaired: false });
      }
    }
    const found = plan === undefined ? null : { done: false, ...plan };
    return { schema: 'check/1', ...report, problems, rebuild: found };
  } finally {
    for (const device of devices) await device.close();
  }
}

async function rebuilt(
  mainPath: string,
  sparePaths: readonly string[],
  volumeUuid: string | undefined,
): Promise<CheckAnswer> {
  const { main, spares, close } = await openDevices({ mainPath, sparePaths, readOnly: false });
  try {
    const nowSeconds = systemClock.nowSeconds();
    const survey = await surveySpares(spares, { volumeUuid, nowSeconds });
    if (survey.survivor !== undefined) await requireMain(survey.survivor.config, main);
    requireWholeBlocks(main, survey.logicalBlockSize);
    await writeRebuilt(survey, {
      main: await describeDevice(main),
      spareRecords: await Promise.all(spares.map(describeDevice)),
      name: nameOf(main.path),
      clock: systemClock,
    });
    const report = await checkSpares(spares, { repair: false, clock: systemClock });
    return { schema: 'check/1', ...report, rebuild: { done: true, ...planOf(survey) } };
  } finally {
    await close();
  }
}

function mainOf({ main }: Invocation['values']): string {
  if (typeof main === 'string') return main;
  throw usageError('--rebuild needs --main=PATH, the device the volume was made for');
}

function uuidOf(text: string): string {
  const uuid = text.toLowerCase();
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid)) return uuid;
  throw usageError(`--volume is a UUID, not '${text}'`);
}

const isLossy = (plan: RebuildPlan): boolean =>
  plan.doubtfulGroups > 0 || plan.ambiguousSectors > 0;

function render(answer: CheckAnswer, paths: readonly string[], repair: boolean): string {
  const listed = answer.verdict === 'unusable' ? answer.problems.slice(1) : answer.problems;
  const lines = listed.map(
    (p) => `${p.code}${p.repaired ? ' (repaired)' : ''}: ${printable(p.message)}`,
  );
  if (answer.moreProblems > 0) lines.push(`and ${plural(answer.moreProblems, 'problem')} more`);
  if (answer.rebuild !== null) lines.push(...planLines(answer.rebuild, paths));
  if (answer.verdict === 'degraded' && !repair) {
    lines.push(`to mend it: remapctl check ${paths.map(shellWord).join(' ')} --repair`);
  }
  lines.push(closing(answer));
  return lines.map((line) => `${line}\n`).join('');
}

function planLines(plan: NonNullable<CheckAnswer['rebuild']>, paths: readonly string[]): string[] {
  const { remapped, retired, done } = plan;
  const lines = [
    `${done ? 'rebuilt' : 'can be rebuilt'} from the spare blocks: volume ${plan.volumeUuid}, ` +
      `${plural(remapped.extents, 'remapped extent')} (${plural(remapped.sectors, 'sector')}), ` +
      `${plural(retired.sectors, 'retired sector')}`,
  ];
  if (plan.supersededSectors > 0) {
    lines.push(`${plural(plan.supersededSectors, 'older sector')} of the spares left out`);
  }
  if (plan.ambiguousSectors > 0) {
    lines.push(
      `${plural(plan.ambiguousSectors, 'sector')} claimed twice as equally new: check the guest`,
    );
  }
  if (plan.doubtfulGroups > 0) {
    lines.push(
      `${plural(plan.doubtfulGroups, 'group')} of 248 blocks with a page that cannot be read: ` +
        'remaps may be missing or old, check the guest',
    );
  }
  lines.push('what could not be read before (pending sectors) and the counters are lost with them');
  if (!done) {
    const words = paths.map(shellWord).join(' ');
    lines.push(
      `with every spare of the volume named: remapctl check ${words} --rebuild --main=MAIN`,
    );
  }
  return lines;
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
