import type { DiagnosisKind } from './diagnose.js';
import type { Part } from './parts.js';
import type { QemuVersion } from './qemu-program.js';
import type { GuestOptions, Vm, VmOptions } from './vm.js';

/** One case: vm/cases/NAME/case.ts exports it as `vmCase`, beside the guest's script guest.sh. */
export interface VmCase extends VmOptions, Omit<GuestOptions, 'script' | 'qemu' | 'onEvent'> {
  /** What it shows, in one sentence. */
  readonly title: string;
  /** QEMUs under which `npm test` runs it: 7.2 unless said, and none for a long campaign. */
  readonly inSuite?: readonly QemuVersion[];
  /** QEMUs it can run under: all of them unless said. */
  readonly qemus?: readonly QemuVersion[];
  /** What it needs beside a QEMU. */
  readonly needs?: readonly Part[];
  /** Fills the main device, before the back-end starts. */
  readonly fill?: (vm: Vm) => unknown;
  /** What the case needs and this machine has not. */
  readonly missing?: () => string | undefined;
  /** Runs before the guest boots, with the back-end up. */
  readonly prepare?: (vm: Vm) => Promise<void>;
  /** Runs after the guest has powered off, with the back-end still up; may tell what it counted. */
  readonly verify?: (vm: Vm) => Promise<unknown>;
  /** The case passes when the guest fails for this reason, and in no other way. */
  readonly fails?: DiagnosisKind;
}
