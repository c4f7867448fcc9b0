import { call } from '../../protocol/client.js';
import { type Command, EXIT, type ExitStatus, type Invocation } from '../command.js';
import { formatSectors } from '../render.js';

export const resizeCommand: Command = {
  verb: 'resize',
  synopsis: '',
  summary: 'make the volume as long as its main device has become',
  help:
    'Grow the main device first; the running guest sees the new size. ' +
    'A volume cannot shrink.\n',
  options: {},
  words: [0, 0],
  run,
};

async function run(invocation: Invocation): Promise<ExitStatus> {
  const answer = await call(invocation.controlSocket(), { verb: 'resize' });
  const { previousSectors, sizeSectors } = answer;
  const size = formatSectors(sizeSectors);
  const text =
    sizeSectors === previousSectors
      ? `the main device has not grown: ${size}\n`
      : `grown from ${formatSectors(previousSectors)} to ${size}\n`;
  invocation.terminal.out(invocation.json ? `${JSON.stringify(answer)}\n` : text);
  return EXIT.done;
}
