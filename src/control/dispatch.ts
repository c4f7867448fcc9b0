import type { z } from 'zod';
import type { answerSchemas, Request } from '../protocol/messages.js';
import type { VolumeControl } from '../protocol/volume-control.js';

export type Answer = z.infer<(typeof answerSchemas)[Request['verb']]>;

/** One request to one volume. Throws RemapError. */
export async function dispatch(volume: VolumeControl, request: Request): Promise<Answer> {
  switch (request.verb) {
    case 'status':
      return { schema: 'status/1', pid: process.pid, volumes: [volume.status()] };
    case 'resize':
      return { schema: 'resize/1', ...(await volume.resize()) };
    case 'resume':
      return { schema: 'resume/1', ...(await volume.resumeRemapping()) };
    case 'remap list':
      return { schema: 'remap/1', action: 'list', ...volume.listRemaps() };
    case 'remap add':
      return { schema: 'remap/1', action: 'add', ...(await volume.addRemaps(request.extents)) };
    case 'remap remove':
      return {
        schema: 'remap/1',
        action: 'remove',
        ...(await volume.removeRemaps(request.extents)),
      };
    case 'inject add':
      return { schema: 'inject/1', action: 'add', faults: volume.addFaults(request.faults) };
    case 'inject list':
      return { schema: 'inject/1', action: 'list', faults: volume.listFaults() };
    case 'inject clear':
      return {
        schema: 'inject/1',
        action: 'clear',
        cleared: volume.clearFaults({ device: request.device, id: request.id }),
      };
  }
}
