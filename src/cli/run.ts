import {
  findWords,
  nearest,
  type OptionTable,
  parseCommandLine,
  usageError,
} from '../core/command-line.js';
import { isRemapError, sentence } from '../core/errors.js';
import { version } from '../core/version.js';
import { errorAnswer } from '../protocol/error-answer.js';
import {
  type Command,
  EXIT,
  type ExitStatus,
  GLOBAL_OPTIONS,
  type Invocation,
  type Terminal,
} from './command.js';
import { COMMANDS } from './commands/index.js';
import { printable } from './render.js';
import { commandUsage, USAGE } from './usage.js';

/** One call of remapctl, from its arguments to its exit status. Never throws. */
export async function run(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  terminal: Terminal,
): Promise<ExitStatus> {
  try {
    return await dispatch(args, env, terminal);
  } catch (e) {
    if (args.includes('--json')) terminal.out(`${JSON.stringify(errorAnswer(e))}\n`);
    terminal.err(`remapctl: ${printable(sentence(e))}\n`);
    return isRemapError(e, 'USAGE') ? EXIT.usage : EXIT.failed;
  }
}

async function dispatch(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  terminal: Terminal,
): Promise<ExitStatus> {
  const found = findCommand(args);
  if (found === undefined) return withoutVerb(args, terminal);
  const { command, rest } = found;
  const { values, positionals } = parseCommandLine(rest, {
    ...GLOBAL_OPTIONS,
    ...command.options,
  });
  if (values.help === true) {
    terminal.out(commandUsage(command));
    return EXIT.done;
  }
  const [fewest, most] = command.words;
  if (positionals.length > most) {
    throw usageError(
      `${command.verb} does not know what to do with '${positionals[most]}'; ` +
        `see remapctl ${command.verb} --help`,
    );
  }
  if (positionals.length < fewest) {
    throw usageError(`it is: remapctl ${command.verb} ${command.synopsis}; see its --help`);
  }
  const invocation: Invocation = {
    values,
    positionals,
    json: values.json === true,
    controlSocket: () => controlSocket(values['control-socket'], env),
    terminal,
  };
  return command.run(invocation);
}

function controlSocket(option: unknown, env: Readonly<Record<string, string | undefined>>): string {
  const path = typeof option === 'string' ? option : env.REMAPCTL_SOCKET;
  if (path !== undefined && path !== '') return path;
  throw usageError(
    'which back-end? give --control-socket=PATH, the one vhost-user-remap was started with, ' +
      'or set REMAPCTL_SOCKET',
  );
}

/** The command that the words of `args` call, and the arguments without those words. */
function findCommand(
  args: readonly string[],
): { command: Command; rest: readonly string[] } | undefined {
  const words = findWords(args, allOptions());
  const [first, second] = words;
  if (first === undefined) return undefined;
  const pair = second === undefined ? '' : `${first.value} ${second.value}`;
  const command =
    COMMANDS.find((c) => c.verb === pair) ?? COMMANDS.find((c) => c.verb === first.value);
  if (command === undefined) {
    if (args.includes('--help') || args.includes('-h')) return undefined;
    throw unknownVerb(first.value, second?.value);
  }
  const taken = command.verb === pair ? [first.index, second?.index] : [first.index];
  return { command, rest: args.filter((_, index) => !taken.includes(index)) };
}

function unknownVerb(first: string, second: string | undefined) {
  const group = COMMANDS.filter((c) => c.verb.startsWith(`${first} `));
  if (group.length > 0) {
    const known = group.map((c) => c.verb.slice(first.length + 1)).join(', ');
    return usageError(
      second === undefined
        ? `${first} needs one of: ${known}`
        : `unknown verb '${first} ${second}'; ${first} knows ${known}`,
    );
  }
  const near = nearest(first, [...new Set(COMMANDS.map((c) => c.verb.split(' ')[0] as string))]);
  const hint = near === undefined ? 'see remapctl --help' : `did you mean ${near}?`;
  return usageError(`unknown verb '${first}'; ${hint}`);
}

/** Every option of every command: enough to tell words from the values of options. */
const allOptions = (): OptionTable =>
  Object.assign({}, GLOBAL_OPTIONS, ...COMMANDS.map((command) => command.options));

function withoutVerb(args: readonly string[], terminal: Terminal): ExitStatus {
  if (args.includes('--help') || args.includes('-h')) {
    terminal.out(USAGE);
    return EXIT.done;
  }
  if (args.includes('--version')) {
    terminal.out(`remapctl ${version()}\n`);
    return EXIT.done;
  }
  parseCommandLine(args, GLOBAL_OPTIONS);
  throw usageError('no verb; see remapctl --help');
}
