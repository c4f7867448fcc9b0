/** Firmware that boots from the disk, with a virtio driver of its own, where -kernel needs none. */
import { inPart } from './parts.js';

export type Firmware = 'seabios' | 'ovmf' | 'u-boot';

interface Arguments {
  readonly machine: string;
  readonly bios: readonly string[];
  readonly disk: string;
  /** Serial ports in their order: `stdio` is where the host reads and answers. */
  readonly serial: readonly ['console', 'stdio'] | readonly ['stdio', 'console'];
}

/**
 * OVMF and U-Boot take a device that is both by its legacy face, which vhost-user has not; and
 * U-Boot for PCs finds no virtio on q35.
 */
const ARGUMENTS: Readonly<Record<Firmware, Arguments>> = {
  seabios: { machine: 'q35', bios: [], disk: 'bootindex=0', serial: ['console', 'stdio'] },
  ovmf: {
    machine: 'q35',
    bios: ['-bios', inPart('boot-loaders', 'OVMF.fd')],
    disk: 'bootindex=0,disable-legacy=on',
    serial: ['console', 'stdio'],
  },
  'u-boot': {
    machine: 'pc',
    bios: ['-bios', inPart('boot-loaders', 'u-boot.rom')],
    disk: 'disable-legacy=on',
    serial: ['stdio', 'console'],
  },
};

export const firmwareArguments = (firmware: Firmware): Arguments => ARGUMENTS[firmware];
