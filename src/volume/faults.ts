/** Planned failures of the devices of a volume, as the control socket asks for them. */
import { RemapError } from '../core/errors.js';
import type { FileDevice } from '../device/file-device.js';
import type { FaultFilter, FaultRequest, FaultRow } from '../protocol/messages.js';
import { errnoName, errnoNumber } from './io-error.js';

/** A percent in millionths. */
const PER_MILLION = 10_000;

interface Named {
  readonly name: string;
  readonly device: Pick<FileDevice, 'native' | 'sizeSectors'>;
}

export class Faults {
  #devices: readonly Named[];
  readonly allowed: boolean;

  /** `devices`: main, then the spares in the order of their index. */
  constructor(devices: readonly Named['device'][], allowed: boolean) {
    this.#devices = devices.map((device, i) => ({
      name: i === 0 ? 'main' : i === 1 ? 'spare' : `spare${i - 1}`,
      device,
    }));
    this.allowed = allowed;
  }

  /** All or none. Throws FAULTS_OFF, and RANGE for a device or sectors that are not there. */
  add(requests: readonly FaultRequest[]): FaultRow[] {
    this.#requireAllowed();
    const planned = requests.map((request) => ({ request, on: this.#find(request) }));
    const added: FaultRow[] = [];
    for (const { request, on } of planned) {
      const { kind, lba, count, times, delayMs, errno = 'EIO', percent = 100 } = request;
      const perMillion = Math.round(percent * PER_MILLION);
      const rule = { kind, lba, count, times, delayMs };
      const id = on.device.native.addFault({ ...rule, errno: errnoNumber(errno), perMillion });
      if (id !== 0) {
        added.push({ id, device: on.name, ...rule, errno, percent, hits: 0 });
        continue;
      }
      for (const row of added) this.clear({ device: row.device, id: row.id });
      throw new RemapError('RANGE', 'There is no room for more faults; clear some first.');
    }
    return added;
  }

  list(): FaultRow[] {
    this.#requireAllowed();
    return this.#rows();
  }

  /** How many rules there are, allowed or not. */
  get count(): number {
    return this.allowed ? this.#rows().length : 0;
  }

  /** Returns how many went. */
  clear({ device, id }: FaultFilter): number {
    this.#requireAllowed();
    const name = device === 'spare0' ? 'spare' : device;
    return this.#devices
      .filter((one) => name === undefined || one.name === name)
      .reduce((sum, one) => sum + one.device.native.clearFaults(id), 0);
  }

  /** Before the devices are closed; there are no rules from then on. */
  close(): void {
    this.#devices = [];
  }

  #rows(): FaultRow[] {
    return this.#devices.flatMap(({ name, device }) =>
      device.native.listFaults().map(({ perMillion, errno, ...rule }) => ({
        ...rule,
        device: name,
        errno: errnoName(errno),
        percent: perMillion / PER_MILLION,
      })),
    );
  }

  #find({ device, lba, count }: FaultRequest): Named {
    const name = device === 'spare0' ? 'spare' : device;
    const found = this.#devices.find((one) => one.name === name);
    const context = { device, lba, count };
    if (found === undefined) {
      const names = this.#devices.map((one) => one.name).join(', ');
      throw new RemapError('RANGE', `This volume has no ${device}; it has ${names}.`, { context });
    }
    const { sizeSectors } = found.device;
    if (lba + count > sizeSectors) {
      const message = `${count} sectors at ${lba}: ${device} ends at sector ${sizeSectors}.`;
      throw new RemapError('RANGE', message, { context });
    }
    return found;
  }

  #requireAllowed(): void {
    if (this.allowed) return;
    throw new RemapError(
      'FAULTS_OFF',
      'Fault injection is off; start vhost-user-remap with --allow-fault-injection.',
    );
  }
}
