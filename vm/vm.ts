/** One virtual machine on a disk of its own: images, back-end, QEMU, and the guest's script. */
import {
  appendFileSync,
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BackEnd, type BackEndKind } from './back-end.js';
import { type Diagnosis, diagnose } from './diagnose.js';
import type { Firmware } from './firmware.js';
import { answerLine, type GuestEvent, parseGuestLine } from './guest-channel.js';
import { attachLoop, detachLoop } from './loop-device.js';
import { migrate } from './migration.js';
import { guestInitrd } from './paths.js';
import { describeEnding, Program, rejectAfter } from './program.js';
import { type Accelerator, accelerator, qemuArguments } from './qemu.js';
import { type QemuVersion, qemuProgram } from './qemu-program.js';
import { Qmp } from './qmp.js';
import { Remapctl } from './remapctl.js';
import { UBoot } from './u-boot.js';

/** Runs on the host while the guest waits; a string it returns is the guest's answer. */
export type HostStep = (vm: Vm, ...args: string[]) => Promise<unknown>;

/** What a step returns when the guest that asked is not there any more. */
export const NO_ANSWER = Symbol('no answer');

export interface VmOptions {
  readonly mainMiB: number;
  readonly spareMiB: number;
  readonly backEnd?: BackEndKind;
  /** Options of the back-end beside the images and sockets. */
  readonly backEndOptions?: readonly string[];
  /** QEMU listens and the back-end connects. */
  readonly connects?: boolean;
  /** The back-end serves main as a block device of the host. */
  readonly mainOnLoop?: boolean;
}

export interface GuestOptions {
  /** Path of the script; see vm/guest/steps.sh for what it may use. */
  readonly script: string;
  /** 7.2 unless said. */
  readonly qemu?: QemuVersion;
  readonly vcpus?: number;
  readonly memoryMiB?: number;
  readonly sharedMemory?: boolean;
  /** Boots from the disk through it; by QEMU's -kernel without. */
  readonly firmware?: Firmware;
  /** An initrd on top of the one all cases have. */
  readonly moreInitrd?: string;
  /** The guest may reset: its script runs again. */
  readonly reboots?: boolean;
  /** The guest starts without the disk, which the case plugs in. */
  readonly diskless?: boolean;
  readonly qemuOptions?: readonly string[];
  /** Runs once QEMU has been started, beside the guest. */
  readonly started?: (vm: Vm) => Promise<void>;
  /** What the script may ask for with `host NAME ARG...`. */
  readonly steps?: Readonly<Record<string, HostStep>>;
  /** In place of a script: what U-Boot is told to do. */
  readonly commands?: (vm: Vm, uBoot: UBoot) => Promise<void>;
  readonly timeoutMs?: number;
  readonly onEvent?: (event: GuestEvent) => void;
}

/** The guest's script did not come to its end; `diagnosis` where the reason is a known one. */
export class GuestFailure extends Error {
  readonly diagnosis: Diagnosis | undefined;

  constructor(message: string, diagnosis?: Diagnosis) {
    super(message);
    this.name = 'GuestFailure';
    this.diagnosis = diagnosis;
  }
}

/** What hangs is found in the end; a loaded machine boots a guest in minutes. */
const GUEST_MS = 300_000;

export class Vm {
  readonly dir = mkdtempSync(path.join(tmpdir(), 'remap-vm-'));
  readonly mainPath = path.join(this.dir, 'main.img');
  readonly sparePath = path.join(this.dir, 'spare.img');
  /** What the back-end opens: main, or the block device it is. */
  readonly mainDevice: string;
  readonly #options: VmOptions;
  /** Where the guest is: each migration goes to the other one, with a back-end of its own. */
  #side: 0 | 1 = 0;
  #qmp: Promise<Qmp> | undefined;
  readonly #backEnds: [BackEnd | undefined, BackEnd | undefined] = [undefined, undefined];
  #guest: GuestOptions | undefined;
  #qemu: Program | undefined;
  #follow: (qemu: Program) => void = () => undefined;
  readonly #removeImages = (): void => {
    if (this.mainDevice !== this.mainPath) detachLoop(this.mainDevice);
    rmSync(this.dir, { recursive: true, force: true });
  };
  #onDiagnosis: (found: Diagnosis) => void = () => undefined;

  constructor(options: VmOptions) {
    this.#options = options;
    process.once('exit', this.#removeImages);
    for (const [file, sizeMiB] of [
      [this.mainPath, options.mainMiB],
      [this.sparePath, options.spareMiB],
    ] as const) {
      writeFileSync(file, '');
      truncateSync(file, sizeMiB * 1024 * 1024);
    }
    this.mainDevice = options.mainOnLoop ? attachLoop(this.mainPath) : this.mainPath;
  }

  /** `more` in place of the options of the case. */
  async startBackEnd(more: readonly string[] = this.#options.backEndOptions ?? []): Promise<void> {
    const backEnd = await BackEnd.start(this.#options.backEnd ?? 'vhost-user-remap', {
      socketPath: this.socketPath,
      mainPath: this.mainDevice,
      sparePath: this.sparePath,
      controlPath: this.#path('control.sock'),
      connects: this.#options.connects ?? false,
      more,
    });
    this.#backEnds[this.#side] = backEnd;
    this.#diagnose(backEnd.program);
  }

  get socketPath(): string {
    return this.#path('disk.sock');
  }

  get remapctl(): Remapctl {
    return new Remapctl(this.#path('control.sock'));
  }

  #path(name: string): string {
    return path.join(this.dir, this.#side === 0 ? name : `other-${name}`);
  }

  get #backEnd(): BackEnd | undefined {
    return this.#backEnds[this.#side];
  }

  /** Of the back-end that runs now. */
  get backEndPid(): number {
    if (!this.#backEnd) throw new Error('the back-end does not run');
    return this.#backEnd.program.pid;
  }

  /** Log lines of the back-end that runs now; more come. */
  get backEndLog(): readonly string[] {
    return this.#backEnd?.program.stderr ?? [];
  }

  get qemuPid(): number {
    if (!this.#qemu) throw new Error('QEMU does not run');
    return this.#qemu.pid;
  }

  /** QEMU's control socket, once it runs. */
  get qmp(): Promise<Qmp> {
    this.#qmp ??= Qmp.connect(this.#path('qmp.sock'));
    return this.#qmp;
  }

  /** SIGTERM must end it with status 0. */
  async stopBackEnd(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const backEnd = this.#backEnd;
    if (!backEnd) return;
    this.#backEnds[this.#side] = undefined;
    const ending = await backEnd.end(signal);
    if (signal === 'SIGTERM' && ending.code !== 0) {
      const how = describeEnding(ending);
      throw new Error(`the back-end did not stop cleanly (${how})${backEnd.program.tail()}`);
    }
  }

  /** Boots the guest and resolves once its script has ended well and QEMU is gone. */
  async runGuest(guest: GuestOptions): Promise<void> {
    const timeoutMs = guest.timeoutMs ?? GUEST_MS;
    this.#guest = guest;
    const qemu = this.#startQemu(guest, await accelerator());
    try {
      const code = await Promise.race([
        guest.commands ? this.#command(qemu, guest.commands) : this.#script(qemu, guest),
        new Promise<never>((_, reject) => {
          this.#onDiagnosis = (found) => reject(new GuestFailure(found.sentence, found));
          guest.started?.(this).catch(reject);
        }),
        rejectAfter(timeoutMs, `the guest did not finish in ${timeoutMs / 1000} s`),
      ]);
      if (code !== 0) throw new GuestFailure(`the guest's script ended with status ${code}`);
      const ended = this.#qemu?.exited;
      await Promise.race([ended, rejectAfter(20_000, 'QEMU did not end with its guest')]);
    } finally {
      this.#onDiagnosis = () => undefined;
      this.#qmp?.then(
        (qmp) => qmp.close(),
        () => undefined,
      );
      this.#qmp = undefined;
      await this.#qemu?.end('SIGKILL');
    }
  }

  /**
   * Moves the running guest to a QEMU on the other side. `prepare` runs with the back-end there up,
   * which stays beside the one here. Returns for how long the guest stood still, in milliseconds.
   */
  async migrate(prepare: () => Promise<void>): Promise<number> {
    if (!this.#guest) throw new Error('no guest runs');
    const [source, sourceQmp] = [this.#qemu, await this.qmp];
    this.#side = this.#side === 0 ? 1 : 0;
    this.#qmp = undefined;
    if (!this.#backEnd) await this.startBackEnd();
    await prepare();
    const uri = `unix:${this.#path('incoming.sock')}`;
    const target = this.#startQemu(this.#guest, await accelerator(), ['-incoming', uri]);
    this.#follow(target);
    await this.qmp;
    const downtimeMs = await migrate(sourceQmp, uri);
    sourceQmp.close();
    await source?.end();
    return downtimeMs;
  }

  /** The end of what guest, QEMU and back-end said, for a person who looks for the reason. */
  evidence(): string {
    const last = (title: string, lines: readonly string[], count: number) =>
      lines.length === 0 ? [] : [`-- ${title}`, ...lines.slice(-count).map((line) => `   ${line}`)];
    return [
      ...last('guest', this.#qemu?.stdout ?? [], 30),
      ...last("guest's kernel", readLines(this.#path('console.log')), 30),
      ...last('QEMU', this.#qemu?.stderr ?? [], 10),
      ...this.#backEnds.flatMap((one) => last('back-end', one?.program.stderr ?? [], 20)),
    ].join('\n');
  }

  /** Ends what still runs and removes the images. */
  async dispose(): Promise<void> {
    await this.#qemu?.end('SIGKILL');
    for (const backEnd of this.#backEnds) await backEnd?.end('SIGKILL');
    process.off('exit', this.#removeImages);
    this.#removeImages();
  }

  #startQemu(guest: GuestOptions, use: Accelerator, more: readonly string[] = []): Program {
    const args = qemuArguments({
      accelerator: use,
      vcpus: guest.vcpus ?? 1,
      memoryMiB: guest.memoryMiB ?? 512,
      sharedMemory: guest.sharedMemory ?? true,
      script: guest.commands ? undefined : guest.script,
      console: this.#path('console.log'),
      firmware: guest.firmware,
      ...(guest.moreInitrd && { initrd: this.#joinInitrds(guest.moreInitrd) }),
      ...(!guest.diskless && { socketPath: this.socketPath }),
      listens: this.#options.connects ?? false,
      reboots: guest.reboots ?? false,
      qmpPath: this.#path('qmp.sock'),
      more: [...(guest.qemuOptions ?? []), ...more],
    });
    this.#qemu = new Program('QEMU', qemuProgram(guest.qemu ?? '7.2'), args);
    this.#diagnose(this.#qemu);
    return this.#qemu;
  }

  /** The kernel unpacks one after the other. */
  #joinInitrds(more: string): string {
    const joined = this.#path('initrd');
    copyFileSync(guestInitrd, joined);
    appendFileSync(joined, readFileSync(more));
    return joined;
  }

  #diagnose(program: Program): void {
    program.onLine('stderr', (line) => {
      const found = diagnose(line);
      if (found) this.#onDiagnosis(found);
    });
  }

  /** Answers the guest's questions until its script ends; resolves with the exit status. */
  #script(first: Program, guest: GuestOptions): Promise<number> {
    return new Promise((resolve, reject) => {
      let reason = '';
      const hear = (line: string): void => {
        const event = parseGuestLine(line);
        guest.onEvent?.(event);
        if (event.kind === 'fail') reason = event.text;
        if (event.kind === 'host') void this.#answer(guest, event);
        if (event.kind !== 'exit') return;
        if (reason === '') resolve(event.code);
        else reject(new GuestFailure(reason));
      };
      this.#follow = (qemu) => {
        qemu.onLine('stdout', hear);
        qemu.exited.then((ending) => {
          if (qemu !== this.#qemu) return;
          const how = describeEnding(ending);
          reject(new GuestFailure(`QEMU ended before the guest's script (${how})`));
        }, reject);
      };
      this.#follow(first);
    });
  }

  /** Resolves with 0 once all is done; a reset ends QEMU. */
  async #command(qemu: Program, commands: NonNullable<GuestOptions['commands']>): Promise<number> {
    await commands(this, await UBoot.start(qemu));
    qemu.send('reset');
    return 0;
  }

  async #answer(guest: GuestOptions, event: Extract<GuestEvent, { kind: 'host' }>): Promise<void> {
    const step = guest.steps?.[event.name];
    try {
      if (!step) throw new Error(`no host step is named ${event.name}`);
      const answer = await step(this, ...event.args);
      if (answer === NO_ANSWER) return;
      this.#qemu?.send(answerLine(true, typeof answer === 'string' ? answer : ''));
    } catch (error) {
      this.#qemu?.send(answerLine(false, error instanceof Error ? error.message : String(error)));
    }
  }
}

function readLines(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}
