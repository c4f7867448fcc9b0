import type { DiagnosisKind } from './diagnose.js';
import type { HostStep, Vm, VmOptions } from './vm.js';

/** One case: vm/cases/NAME/case.ts exports it as `vmCase`, beside the guest's script guest.sh. */
export interface VmCase extends VmOptions {
  /** What it shows, in one sentence. */
  readonly title: string;
  readonly vcpus?: number;
  readonly sharedMemory?: boolean;
  /** Runs before the guest boots, with the back-end up. */
  readonly prepare?: (vm: Vm) => Promise<void>;
  /** What the script may ask for with `host NAME ARG...`. */
  readonly steps?: Readonly<Record<string, HostStep>>;
  /** Runs after the guest has powered off, with the back-end still up. */
  readonly verify?: (vm: Vm) => Promise<void>;
  /** The case passes when the guest fails for this reason, and in no other way. */
  readonly fails?: DiagnosisKind;
}
