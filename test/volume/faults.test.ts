import t from 'tap';
import type { FileDevice } from '../../src/device/file-device.js';
import type { FaultRule } from '../../src/native/binding.js';
import type { FaultRequest } from '../../src/protocol/messages.js';
import { Faults } from '../../src/volume/faults.js';

/** A device whose fault table has room for `room` rules. */
function device(room: number): Pick<FileDevice, 'native' | 'sizeSectors'> {
  let rules: FaultRule[] = [];
  let next = 1;
  const native = {
    addFault(rule: Omit<FaultRule, 'id' | 'hits'>): number {
      if (rules.length >= room) return 0;
      rules.push({ ...rule, id: next, hits: 0 });
      return next++;
    },
    listFaults: () => rules,
    clearFaults(id?: number): number {
      const before = rules.length;
      rules = id === undefined ? [] : rules.filter((rule) => rule.id !== id);
      return before - rules.length;
    },
  };
  return { native, sizeSectors: 1000 } as unknown as Pick<FileDevice, 'native' | 'sizeSectors'>;
}

const request = (change: Partial<FaultRequest> = {}): FaultRequest => ({
  device: 'main',
  kind: 'write-error',
  lba: 10,
  count: 2,
  times: 0,
  delayMs: 0,
  ...change,
});

t.test('adds, lists and clears on the device that is named', async (t) => {
  const faults = new Faults([device(9), device(9), device(9)], true);
  const added = faults.add([
    request(),
    request({ device: 'spare', kind: 'slow', delayMs: 50 }),
    request({ device: 'spare1', lba: 998 }),
  ]);
  t.same(
    added.map(({ id, device: on }) => [on, id]),
    [
      ['main', 1],
      ['spare', 1],
      ['spare1', 1],
    ],
  );
  t.same(faults.list(), added);
  t.equal(faults.count, 3);
  t.equal(faults.clear({ device: 'spare0' }), 1, 'spare0 is spare');
  t.equal(faults.clear({ device: 'main', id: 7 }), 0);
  t.equal(faults.clear({}), 2);
});

t.test('all or none', async (t) => {
  const faults = new Faults([device(2), device(2)], true);
  t.throws(() => faults.add([request(), request({ device: 'spare1' })]), {
    code: 'RANGE',
    message: /has no spare1; it has main, spare/,
  });
  t.throws(() => faults.add([request(), request({ lba: 999 })]), {
    code: 'RANGE',
    message: /main ends at sector 1000/,
  });
  t.throws(() => faults.add([request({ device: 'spare' }), request(), request(), request()]), {
    code: 'RANGE',
    message: /no room/,
  });
  t.same(faults.list(), []);
});

t.test('off means off', async (t) => {
  const faults = new Faults([device(9)], false);
  t.throws(() => faults.add([request()]), { code: 'FAULTS_OFF' });
  t.throws(() => faults.list(), { code: 'FAULTS_OFF' });
  t.throws(() => faults.clear({}), { code: 'FAULTS_OFF' });
  t.equal(faults.count, 0);
});
