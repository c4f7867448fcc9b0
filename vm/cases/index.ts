import type { VmCase } from '../case.js';
import { vmCase as blockDevice } from './block-device/case.js';
import { vmCase as boot } from './boot/case.js';
import { vmCase as bootBios } from './boot-bios/case.js';
import { vmCase as bootRemapped } from './boot-remapped/case.js';
import { vmCase as bootUefi } from './boot-uefi/case.js';
import { vmCase as ext4BadSuperblock } from './ext4-bad-superblock/case.js';
import { vmCase as fioWriteErrors } from './fio-write-errors/case.js';
import { vmCase as fourQueues } from './four-queues/case.js';
import { vmCase as fsBtrfs } from './fs-btrfs/case.js';
import { vmCase as fsExt4 } from './fs-ext4/case.js';
import { vmCase as fsLvm } from './fs-lvm/case.js';
import { vmCase as fsMd } from './fs-md/case.js';
import { vmCase as fsXfs } from './fs-xfs/case.js';
import { vmCase as hotPlug } from './hot-plug/case.js';
import { vmCase as killBackend } from './kill-backend/case.js';
import { vmCase as memoryHotPlug } from './memory-hot-plug/case.js';
import { vmCase as migrate } from './migrate/case.js';
import { vmCase as notShared } from './not-shared/case.js';
import { vmCase as readOnly } from './read-only/case.js';
import { vmCase as reset } from './reset/case.js';
import { vmCase as resizeAndZeroes } from './resize-and-zeroes/case.js';
import { vmCase as restartTwoQueues } from './restart-two-queues/case.js';
import { vmCase as stopCont } from './stop-cont/case.js';
import { vmCase as stoppedDevice } from './stopped-device/case.js';
import { vmCase as tooFewQueues } from './too-few-queues/case.js';
import { vmCase as uBoot } from './u-boot/case.js';

/** All cases, by the name of their folder: `npm test` runs them in this order. */
export const cases: Readonly<Record<string, VmCase>> = {
  boot,
  'boot-bios': bootBios,
  'boot-remapped': bootRemapped,
  'boot-uefi': bootUefi,
  'u-boot': uBoot,
  'not-shared': notShared,
  'too-few-queues': tooFewQueues,
  'ext4-bad-superblock': ext4BadSuperblock,
  'fio-write-errors': fioWriteErrors,
  'four-queues': fourQueues,
  'kill-backend': killBackend,
  'restart-two-queues': restartTwoQueues,
  'hot-plug': hotPlug,
  reset,
  'stop-cont': stopCont,
  migrate,
  'memory-hot-plug': memoryHotPlug,
  'resize-and-zeroes': resizeAndZeroes,
  'block-device': blockDevice,
  'read-only': readOnly,
  'stopped-device': stoppedDevice,
  'fs-ext4': fsExt4,
  'fs-xfs': fsXfs,
  'fs-btrfs': fsBtrfs,
  'fs-lvm': fsLvm,
  'fs-md': fsMd,
};
