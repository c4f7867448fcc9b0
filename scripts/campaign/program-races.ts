/**
 * Real programs that want the same disks at the same moment: two back-ends and one more, each
 * round. One back-end gets them, the other is told so, and whoever comes later is refused for as
 * long as it runs. The locks alone are raced faster by test/native/device_race_test.cc.
 */
import { spawn } from 'node:child_process';
import {
  Daemon,
  serveArguments,
  type VolumeFiles,
  volumeFiles,
} from '../../test/fixtures/daemon.js';
import { Prng } from '../../test/fixtures/prng.js';
import { PROGRAMS } from '../../test/fixtures/program.js';
import type { Scope } from '../../test/fixtures/temp-directory.js';
import {
  type Campaign,
  type CampaignOptions,
  type CampaignResult,
  ScriptScope,
} from './campaign.js';

type Command = readonly [string, ...string[]];

const remapctl = (...args: string[]): Command => [process.execPath, PROGRAMS.remapctl, ...args];

/** Each needs a lock that a back-end does not share. */
const others = ({ main, spare }: VolumeFiles): Record<string, Command> => ({
  'qemu-io write': ['qemu-io', '-f', 'raw', '-c', 'write 1M 64k', main],
  'qemu-img resize': ['qemu-img', 'resize', '-f', 'raw', main, '64M'],
  'remapctl check --repair': remapctl('check', '--repair', spare),
  'remapctl create --force': remapctl('create', main, `--spare=${spare}`, '--force'),
});

function exitOf([program, ...args]: Command): Promise<{ status: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
    }
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, output }));
  });
}

interface RaceCounts {
  rounds: number;
  refusedDaemons: number;
  refusedOthers: number;
  /** The third one was first, and had finished before a back-end could start. */
  firstOthers: number;
}

async function round(
  scope: Scope,
  { files, prng, counts }: { files: VolumeFiles; prng: Prng; counts: RaceCounts },
): Promise<string[]> {
  const problems: string[] = [];
  const tools = others(files);
  const name = prng.pick(Object.keys(tools));
  const start = (suffix: string) =>
    Daemon.start(scope, [
      ...serveArguments({
        ...files,
        socket: `${files.socket}${suffix}`,
        control: `${files.control}${suffix}`,
      }),
      '--create',
    ]);
  const [a, b, other] = await Promise.allSettled([
    start('a'),
    start('b'),
    exitOf(tools[name] as Command),
  ]);
  const ready = [a, b].flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const refused = [a, b].flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  counts.rounds++;
  counts.refusedDaemons += refused.length;
  if (other.status === 'fulfilled' && other.value.status === 0) counts.firstOthers++;
  if (ready.length !== 1) problems.push(`${ready.length} back-ends became ready beside ${name}`);
  for (const reason of refused) {
    if (!/is held by another process/.test(String(reason))) problems.push(String(reason));
  }
  for (const [late, command] of Object.entries(tools)) {
    const { status, output } = await exitOf(command);
    if (status !== 0 && /held by another process|lock/.test(output)) counts.refusedOthers++;
    else problems.push(`${late} was not refused: ${output}`);
  }
  for (const daemon of ready) {
    const status = await daemon.stop();
    if (status !== 0) problems.push(`the back-end ended with ${status}`);
  }
  const check = await exitOf(remapctl('check', files.spare));
  if (check.status !== 0) problems.push(check.output);
  return problems;
}

async function run(scope: Scope, options: CampaignOptions): Promise<CampaignResult> {
  const prng = new Prng(options.seed);
  const files = volumeFiles(scope);
  const counts: RaceCounts = { rounds: 0, refusedDaemons: 0, refusedOthers: 0, firstOthers: 0 };
  const problems: string[] = [];
  let current: ScriptScope | undefined;
  scope.teardown(() => current?.end());
  while (counts.rounds < options.count && problems.length === 0) {
    current = new ScriptScope();
    problems.push(...(await round(current, { files, prng, counts })));
    await current.end();
    if (counts.rounds % 10 === 0) options.progress(JSON.stringify(counts));
  }
  const { rounds, refusedDaemons, refusedOthers, firstOthers } = counts;
  const lines = [
    `${rounds} rounds of two back-ends and one more: ${refusedDaemons} back-ends and ` +
      `${refusedOthers} late programs refused; the third was through first ${firstOthers} times`,
  ];
  return { lines, problems };
}

export const programRaces: Campaign = {
  title: 'back-ends, remapctl and the QEMU tools want one disk at once',
  count: 100,
  run,
};
