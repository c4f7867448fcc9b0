import { call } from '../../protocol/client.js';
import { type Command, EXIT, type ExitStatus, type Invocation } from '../command.js';
import { renderVolume } from '../status-view.js';

export const statusCommand: Command = {
  verb: 'status',
  synopsis: '',
  summary: 'show what a running back-end serves, and how well',
  help: 'Exit status 3 when a volume is degraded or failed, or a guest waits for it.\n',
  options: {},
  words: [0, 0],
  run,
};

async function run(invocation: Invocation): Promise<ExitStatus> {
  const { terminal } = invocation;
  const socket = invocation.controlSocket();
  const answer = await call(socket, { verb: 'status' });
  if (invocation.json) {
    terminal.out(`${JSON.stringify(answer)}\n`);
  } else {
    const volumes = answer.volumes.map((v) => renderVolume(v, socket, terminal.colour));
    terminal.out(volumes.join('\n'));
  }
  const fine = answer.volumes.every(({ state, problems }) => {
    return state === 'healthy' || (state === 'standby' && problems.length === 0);
  });
  return fine ? EXIT.done : EXIT.degraded;
}
