import type { Command } from '../command.js';
import { checkCommand } from './check.js';
import { createCommand } from './create.js';
import { discoverCommand } from './discover.js';
import { exportCommand } from './export.js';
import { importCommand } from './import.js';
import { injectAddCommand, injectClearCommand, injectListCommand } from './inject.js';
import { inspectCommand } from './inspect.js';
import { remapAddCommand, remapListCommand, remapRemoveCommand } from './remap.js';
import { resizeCommand } from './resize.js';
import { resumeCommand } from './resume.js';
import { statusCommand } from './status.js';

/** Every verb, in the order the help shows them. */
export const COMMANDS: readonly Command[] = [
  createCommand,
  discoverCommand,
  inspectCommand,
  checkCommand,
  exportCommand,
  importCommand,
  statusCommand,
  resizeCommand,
  resumeCommand,
  remapListCommand,
  remapAddCommand,
  remapRemoveCommand,
  injectAddCommand,
  injectListCommand,
  injectClearCommand,
];
