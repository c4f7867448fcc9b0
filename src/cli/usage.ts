import type { Command } from './command.js';
import { COMMANDS } from './commands/index.js';

const SOCKET_HELP = `\
  --control-socket=PATH   admin socket of the back-end; by default $REMAPCTL_SOCKET
`;
const GLOBAL_HELP = `\
  --json                  answer in one line of JSON
  --help                  this text
`;

const width = Math.max(...COMMANDS.map((command) => command.verb.length));

export const USAGE = `Usage: remapctl [--control-socket=PATH] [--json] VERB ...

Look after volumes of vhost-user-remap.

${COMMANDS.map((c) => `  ${c.verb.padEnd(width)}  ${c.summary}\n`).join('')}
${SOCKET_HELP}${GLOBAL_HELP}  --version               print the version

create, discover, inspect, check, export and import work on devices; the others talk to a running
back-end.
Exit status: 0 done, 1 failed, 2 bad usage, 3 done but degraded. See remapctl(1).
`;

/** Help of one verb. */
export function commandUsage(command: Command): string {
  const synopsis = [command.verb, command.synopsis].filter((part) => part !== '').join(' ');
  const summary = `${command.summary.charAt(0).toUpperCase()}${command.summary.slice(1)}.`;
  const globals = `${command.offline === true ? '' : SOCKET_HELP}${GLOBAL_HELP}`;
  return `Usage: remapctl ${synopsis}\n\n${summary}\n\n${command.help}\n${globals}`;
}
