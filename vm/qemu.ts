import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import path from 'node:path';
import { type Firmware, firmwareArguments } from './firmware.js';
import { parseGuestLine } from './guest-channel.js';
import { guestInitrd, guestKernel, inRoot } from './paths.js';
import { Program } from './program.js';
import { qemuProgram } from './qemu-program.js';

export type Accelerator = 'kvm' | 'tcg';

export interface QemuOptions {
  readonly accelerator: Accelerator;
  readonly vcpus: number;
  readonly memoryMiB: number;
  /** False shows what a guest without shared memory looks like. */
  readonly sharedMemory: boolean;
  /** File that the guest runs. */
  readonly script?: string | undefined;
  /** File that receives the kernel's messages. */
  readonly console: string;
  /** Boots from the disk; by -kernel without. */
  readonly firmware?: Firmware | undefined;
  /** In place of the one all cases have. */
  readonly initrd?: string | undefined;
  /** Socket of the back-end; no disk without it. */
  readonly socketPath?: string;
  /** QEMU listens on that socket, and the back-end connects. */
  readonly listens?: boolean;
  /** The guest may start again; else a reset of it ends QEMU. */
  readonly reboots?: boolean;
  /** Where QEMU listens for commands. */
  readonly qmpPath?: string;
  readonly more?: readonly string[];
}

/** One thread for all CPUs: with several, QEMU 7.2 now and then crashes while a guest boots. */
const TCG = 'tcg,thread=single';

const directBoot = (initrd = guestInitrd) => [
  ...['-kernel', guestKernel, '-initrd', initrd],
  // On a loaded host the kernel finds that its timer stands still, and gives up.
  ...['-append', 'console=ttyS0 quiet panic=-1 no_timer_check'],
];

export function qemuArguments(options: QemuOptions): string[] {
  const memory = `${options.memoryMiB}M`;
  const shared = ['-object', `memory-backend-memfd,id=mem,size=${memory},share=on`];
  const firmware = options.firmware && firmwareArguments(options.firmware);
  const machine = firmware?.machine ?? 'q35';
  const ports = { console: `file:${options.console}`, stdio: 'stdio' };
  const disk = (socketPath: string) => [
    ...[
      '-chardev',
      `socket,id=disk,path=${socketPath},${options.listens ? 'server=on' : 'reconnect=1'}`,
    ],
    ...['-device', ['vhost-user-blk-pci,chardev=disk', firmware?.disk].filter(Boolean).join()],
  ];
  return [
    ...['-machine', options.sharedMemory ? `${machine},memory-backend=mem` : machine],
    ...['-accel', options.accelerator === 'kvm' ? 'kvm' : TCG],
    ...['-cpu', 'max', '-smp', String(options.vcpus), '-m', memory],
    ...(options.sharedMemory ? shared : []),
    ...['-nodefaults', '-display', 'none', ...(options.reboots ? [] : ['-no-reboot'])],
    ...(firmware?.bios ?? directBoot(options.initrd)),
    ...(firmware?.serial ?? ['console', 'stdio']).flatMap((port) => ['-serial', ports[port]]),
    ...(options.script === undefined ? [] : ['-fw_cfg', `name=opt/case,file=${options.script}`]),
    ...(options.socketPath === undefined ? [] : disk(options.socketPath)),
    ...(options.qmpPath === undefined
      ? []
      : ['-qmp', `unix:${options.qmpPath},server=on,wait=off`]),
    ...(options.more ?? []),
  ];
}

const KVM_PROBE_MS = 5000;

/**
 * KVM where a guest boots with it in a few seconds, else TCG: /dev/kvm may be there and hang the
 * guest, as it does in some nested machines. The answer is kept until the kernel or QEMU changes.
 */
export async function accelerator(): Promise<Accelerator> {
  const kept = inRoot('.cache/accelerator');
  const machine = `${release()} ${existsSync('/dev/kvm')} ${qemuVersion()}`;
  if (existsSync(kept)) {
    const [answer, of] = readFileSync(kept, 'utf8').split('\n');
    if (of === machine && (answer === 'kvm' || answer === 'tcg')) return answer;
  }
  const answer: Accelerator = existsSync('/dev/kvm') && (await kvmBoots()) ? 'kvm' : 'tcg';
  writeFileSync(kept, `${answer}\n${machine}\n`);
  return answer;
}

const qemuVersion = (): string =>
  execFileSync(qemuProgram('7.2'), ['--version'], { encoding: 'utf8' }).split('\n')[0] ?? '';

async function kvmBoots(): Promise<boolean> {
  const dir = mkdtempSync(path.join(tmpdir(), 'remap-kvm-'));
  const script = path.join(dir, 'guest.sh');
  writeFileSync(script, 'true\n');
  const qemu = new Program(
    'qemu',
    qemuProgram('7.2'),
    qemuArguments({
      accelerator: 'kvm',
      vcpus: 1,
      memoryMiB: 512,
      sharedMemory: true,
      script,
      console: path.join(dir, 'console.log'),
    }),
  );
  const timer = setTimeout(() => qemu.end('SIGKILL'), KVM_PROBE_MS);
  try {
    await qemu.exited;
    return qemu.stdout.some((line) => parseGuestLine(line).kind === 'exit');
  } finally {
    clearTimeout(timer);
    rmSync(dir, { recursive: true });
  }
}
