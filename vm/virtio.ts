/** What the driver that has the disk now agreed on, as QEMU tells it. */
import type { Vm } from './vm.js';

interface VirtioStatus {
  readonly 'guest-features': { readonly 'dev-features'?: readonly string[] };
}

/** Names of the device's own features, for instance FLUSH, CONFIG_WCE and MQ. */
export async function negotiatedFeatures(vm: Vm): Promise<string[]> {
  const qmp = await vm.qmp;
  const devices = (await qmp.run('x-query-virtio')) as { name: string; path: string }[];
  const path = devices.find(({ name }) => name === 'vhost-user-blk' || name === 'virtio-blk')?.path;
  const status = (await qmp.run('x-query-virtio-status', { path })) as VirtioStatus;
  return (status['guest-features']['dev-features'] ?? []).map((line) =>
    line.replace(/^VIRTIO_BLK_F_|:.*$/g, ''),
  );
}
