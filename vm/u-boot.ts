/** The command line of U-Boot, on the guest's first serial port. */
import { describeEnding, type Program, rejectAfter } from './program.js';

const COMMAND_MS = 60_000;

export class UBoot {
  readonly #program: Program;
  #commands = 0;

  private constructor(program: Program) {
    this.#program = program;
  }

  /** Resolves once it takes commands in place of booting by itself. */
  static async start(program: Program): Promise<UBoot> {
    await until(program, (line) => line.startsWith('Net:'), 'the start of U-Boot');
    program.send('');
    return new UBoot(program);
  }

  /** What it prints. */
  async run(command: string): Promise<string> {
    this.#commands += 1;
    const end = `@@end ${this.#commands}`;
    const ended = until(this.#program, (line) => line === end, command);
    this.#program.send(`${command}; echo ${end}`);
    return (await ended).join('\n');
  }
}

/** The lines to come until one passes, that one left out. */
async function until(
  program: Program,
  test: (line: string) => boolean,
  what: string,
): Promise<string[]> {
  const lines: string[] = [];
  let stop = (): void => undefined;
  const passed = new Promise<void>((resolve) => {
    stop = program.onLine('stdout', (line) => (test(line) ? resolve() : lines.push(line)));
  });
  try {
    await Promise.race([
      passed,
      program.exited.then((ending) => {
        throw new Error(`QEMU ended before ${what} did (${describeEnding(ending)})`);
      }),
      rejectAfter(COMMAND_MS, `${what} took longer than ${COMMAND_MS / 1000} s`),
    ]);
  } finally {
    stop();
  }
  return lines;
}
