/**
 * npm run bench [-- --quick --dir=DIR]: what remaps elsewhere cost plain I/O. 4 KiB random reads at
 * depth 32, on files in RAM, by the project's own front-end; the back-ends take turns.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { FrontEnd } from '../test/fixtures/front-end.js';
import { daemonProgram } from '../vm/paths.js';
import { Program } from '../vm/program.js';
import { Remapctl } from '../vm/remapctl.js';
import { median, medianRatio, type Sample } from './bench/summary.js';

const MIB = 1024 * 1024;
const MAIN_MIB = 512;
const SPARE_MIB = 128;
/** The load stays below, the remaps lie above. */
const LOAD_SECTORS = 256 * 2048;
const REMAPS = 100_000;
const CLOCK_TICKS_PER_SECOND = 100;

interface Contender {
  readonly name: string;
  readonly daemon: Program;
  readonly frontEnd: FrontEnd;
  readonly samples: Sample[];
}

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    dir: { type: 'string', default: '/dev/shm' },
  },
});
const rounds = values.quick ? 3 : 9;
const seconds = values.quick ? 1 : 3;

async function start(dir: string, name: string, remaps: number): Promise<Contender> {
  const at = (suffix: string) => path.join(dir, `${name.replaceAll(' ', '-')}.${suffix}`);
  writeFileSync(at('main'), Buffer.alloc(MAIN_MIB * MIB, 0x5a));
  const args = [`--blk-file=${at('main')}`, `--socket-path=${at('sock')}`, '--num-queues=1'];
  if (remaps >= 0) {
    writeFileSync(at('spare'), Buffer.alloc(SPARE_MIB * MIB));
    args.push(`--spare=${at('spare')}`, '--create', `--control-socket=${at('ctl')}`);
  }
  const daemon = new Program(name, process.execPath, [daemonProgram, ...args]);
  await daemon.waitForStderr((line) => line.includes('"msg":"ready"'), 30_000);
  if (remaps > 0) {
    // Five sectors apart, so that none joins another.
    const list = Array.from({ length: remaps }, (_, n) => `${LOAD_SECTORS + n * 5} 1\n`);
    writeFileSync(at('list'), list.join(''));
    await new Remapctl(at('ctl')).run('remap', 'add', `--from=${at('list')}`);
  }
  const frontEnd = await FrontEnd.attach({ socketPath: at('sock') });
  return { name, daemon, frontEnd, samples: [] };
}

/** User and system time of a process so far, from proc(5) stat, fields 14 and 15. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_SECOND;
}

async function measure({ daemon, frontEnd }: Contender, seed: number): Promise<Sample> {
  const before = cpuSeconds(daemon.pid);
  const load = await frontEnd.run({ depth: 32, seconds, sectorCount: LOAD_SECTORS, seed });
  const cpu = cpuSeconds(daemon.pid) - before;
  if (load.errors > 0) throw new Error(`${daemon.name}: ${load.firstErrors.join('; ')}`);
  return { iops: load.iops, cpuUs: (cpu * 1e6) / load.reads };
}

function print(contenders: readonly Contender[], baseline: Contender): void {
  console.log(`4 KiB random read, depth 32, ${rounds} rounds of ${seconds} s, ${values.dir}`);
  for (const { name, samples } of contenders) {
    console.log(`\n${name}`);
    console.log(`  IOPS by round    ${samples.map(({ iops }) => Math.round(iops)).join(' ')}`);
    console.log(`  CPU us by round  ${samples.map(({ cpuUs }) => cpuUs.toFixed(2)).join(' ')}`);
    const iops = median(samples.map((sample) => sample.iops));
    const cpu = median(samples.map((sample) => sample.cpuUs));
    console.log(`  median           ${Math.round(iops)} IOPS, ${cpu.toFixed(2)} us of CPU each`);
    const ofIops = medianRatio(samples, baseline.samples, (sample) => sample.iops);
    const ofCpu = medianRatio(samples, baseline.samples, (sample) => sample.cpuUs);
    console.log(`  to ${baseline.name}: ${ofIops.toFixed(3)} of IOPS, ${ofCpu.toFixed(3)} of CPU`);
  }
}

process.once('SIGINT', () => process.exit(130));
const dir = mkdtempSync(path.join(values.dir, 'remap-bench-'));
process.once('exit', () => rmSync(dir, { recursive: true, force: true }));
const contenders: Contender[] = [];
try {
  const baseline = await start(dir, 'no spare', -1);
  contenders.push(baseline);
  contenders.push(await start(dir, 'a spare', 0));
  contenders.push(await start(dir, `${REMAPS} remaps`, REMAPS));
  for (let round = 0; round < rounds; round += 1) {
    // Turns rotate, so that nobody always runs first.
    for (let turn = 0; turn < contenders.length; turn += 1) {
      const contender = contenders[(round + turn) % contenders.length];
      contender?.samples.push(await measure(contender, round + 1));
    }
  }
  print(contenders, baseline);
} finally {
  for (const { frontEnd, daemon } of contenders) {
    frontEnd.close();
    await daemon.end();
  }
}
