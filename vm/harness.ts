/** Runs one case: images, back-end, guest, verification; says why it failed. */
import type { BackEndKind } from './back-end.js';
import type { VmCase } from './case.js';
import type { GuestEvent } from './guest-channel.js';
import { inRoot } from './paths.js';
import type { QemuVersion } from './qemu-program.js';
import { GuestFailure, Vm } from './vm.js';

export interface CaseResult {
  readonly name: string;
  readonly passed: boolean;
  readonly seconds: number;
  /** Why it failed, with what the programs said last. */
  readonly report: string;
  /** What a case that passed counted. */
  readonly counted: string;
}

export interface RunOptions {
  readonly backEnd?: BackEndKind;
  readonly qemu?: QemuVersion;
  readonly onEvent?: (event: GuestEvent) => void;
}

export async function runCase(
  name: string,
  vmCase: VmCase,
  options: RunOptions = {},
): Promise<CaseResult> {
  const started = performance.now();
  const vm = new Vm({ ...vmCase, ...(options.backEnd && { backEnd: options.backEnd }) });
  let report = '';
  let counted = '';
  try {
    vmCase.fill?.(vm);
    await vm.startBackEnd();
    await vmCase.prepare?.(vm);
    await runScript(vm, name, vmCase, options);
    const answer = await vmCase.verify?.(vm);
    if (typeof answer === 'string') counted = answer;
    if (vmCase.fails === undefined) await vm.stopBackEnd();
  } catch (error) {
    report = `${error instanceof Error ? error.message : String(error)}\n${vm.evidence()}`;
  } finally {
    await vm.dispose();
  }
  return {
    name,
    passed: report === '',
    seconds: (performance.now() - started) / 1000,
    report,
    counted,
  };
}

async function runScript(
  vm: Vm,
  name: string,
  vmCase: VmCase,
  { onEvent, qemu }: RunOptions,
): Promise<void> {
  const guest = {
    ...vmCase,
    script: inRoot('vm/cases', name, 'guest.sh'),
    ...(onEvent && { onEvent }),
    ...(qemu && { qemu }),
  };
  if (vmCase.fails === undefined) return vm.runGuest(guest);
  try {
    await vm.runGuest(guest);
  } catch (error) {
    if (error instanceof GuestFailure && error.diagnosis?.kind === vmCase.fails) return;
    throw error;
  }
  throw new Error(`the guest ran well and should have failed: ${vmCase.fails}`);
}
