import { call } from '../../protocol/client.js';
import { type Command, EXIT, type ExitStatus, type Invocation } from '../command.js';

export const resumeCommand: Command = {
  verb: 'resume',
  synopsis: '',
  summary: 'remap bad blocks again after an error storm',
  help:
    'When main fails at places that worked before, no block is remapped, so that a dying cable\n' +
    'does not eat the spare. That ends by itself when main works again; this does not wait.\n',
  options: {},
  words: [0, 0],
  run,
};

async function run(invocation: Invocation): Promise<ExitStatus> {
  const answer = await call(invocation.controlSocket(), { verb: 'resume' });
  const text = answer.wasOpen ? 'bad blocks are remapped again\n' : 'nothing had stopped\n';
  invocation.terminal.out(invocation.json ? `${JSON.stringify(answer)}\n` : text);
  return EXIT.done;
}
