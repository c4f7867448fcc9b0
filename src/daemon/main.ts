#!/usr/bin/env node
import { isRemapError, sentence } from '../core/errors.js';
import { createLogger, type Logger } from '../core/log.js';
import { version } from '../core/version.js';
import { CAPABILITIES } from './capabilities.js';
import { openVolume } from './open-volume.js';
import { type DaemonOptions, parseDaemonOptions, USAGE } from './options.js';
import { serve } from './serve.js';
import { Shutdown } from './shutdown.js';
import { supervise } from './supervise.js';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

async function main(args: readonly string[]): Promise<void> {
  const command = parseDaemonOptions(args);
  switch (command.kind) {
    case 'capabilities':
      process.stdout.write(`${CAPABILITIES}\n`);
      return;
    case 'help':
      process.stdout.write(USAGE);
      return;
    case 'version':
      process.stdout.write(`vhost-user-remap ${version()}\n`);
      return;
    case 'supervise': {
      const log = startLog(command.logLevel);
      await supervise(command.options, log, new Shutdown(log));
      return;
    }
    case 'serve': {
      const log = startLog(command.options['log-level']);
      await serve(command.options, log, new Shutdown(log), openVolume);
    }
  }
}

function startLog(level: DaemonOptions['log-level']): Logger {
  const log = createLogger(level);
  // Acknowledged writes survive any crash; what is unknown must not go on.
  process.on('uncaughtException', (err) => {
    log.fatal({ err }, 'unexpected error');
    process.exit(EXIT_FAILED);
  });
  return log;
}

try {
  await main(process.argv.slice(2));
  // Whatever still keeps the event loop alive has no work left.
  process.exit(0);
} catch (e) {
  process.stderr.write(`vhost-user-remap: ${sentence(e)}\n`);
  process.exit(isRemapError(e, 'USAGE') ? EXIT_USAGE : EXIT_FAILED);
}
