/** Second section of the superblock: docs/on-disk-format.md, "Device configuration". */
import { strict as assert } from 'node:assert';
import { crc32cWithout } from './crc32c.js';
import {
  cutText,
  FormatError,
  getText,
  getU64,
  getUuid,
  isZero,
  putText,
  putU64,
  putUuid,
  requireZero,
} from './fields.js';

export const CONFIG_OFFSET = 512;
export const CONFIG_SIZE = 2432;
export const SPARES_MAX = 8;
export const NAME_MAX_BYTES = 48;

export type DeviceKind = 'file' | 'block';

export interface DeviceRecord {
  /** All zeroes for the main device, which carries nothing of ours. */
  readonly uuid: string;
  /** Exact. */
  readonly sizeSectors: number;
  readonly kind: DeviceKind;
  /** At most 96 bytes: `file:DEV:INO`, `wwn:...`, `serial:...`, `partuuid:...`, or empty. */
  readonly identity: string;
  /** Last path seen, never trusted; kept up to 128 bytes. */
  readonly pathHint: string;
}

export interface VolumeConfig {
  /** 512 or 4096: the unit of remapping. */
  readonly logicalBlockSize: number;
  /** At most 48 bytes of UTF-8. */
  readonly name: string;
  readonly main: DeviceRecord;
  /** 1 to 8. */
  readonly spares: readonly DeviceRecord[];
}

export const CONFIG_AT = {
  crc: 0,
  logicalBlockSize: 4,
  spareCount: 8,
  flags: 12,
  name: 16,
  main: 64,
  spares: 360,
  reserved: 2408,
} as const;
const DEVICE_AT = {
  uuid: 0,
  sizeSectors: 16,
  kind: 24,
  reserved: 28,
  identity: 32,
  pathHint: 128,
} as const;
const IDENTITY_SIZE = 96;
const PATH_HINT_SIZE = 128;
const SPARE_RECORD_SIZE = 256;
const MAIN_RECORD_SIZE = 296;
assert.equal(DEVICE_AT.pathHint + PATH_HINT_SIZE, SPARE_RECORD_SIZE);
assert.equal(CONFIG_AT.name + NAME_MAX_BYTES, CONFIG_AT.main);
assert.equal(CONFIG_AT.main + MAIN_RECORD_SIZE, CONFIG_AT.spares);
assert.equal(CONFIG_AT.spares + SPARES_MAX * SPARE_RECORD_SIZE, CONFIG_AT.reserved);
assert.equal((CONFIG_OFFSET + CONFIG_SIZE) % 64, 0);

/** Position is the value on disk; position 0 is not used. */
const KINDS: readonly (DeviceKind | undefined)[] = [undefined, 'file', 'block'];

/** `section` is the section's bytes, all zero before. Throws RangeError for what does not fit. */
export function encodeConfig(config: VolumeConfig, section: Buffer): void {
  if (config.spares.length < 1 || config.spares.length > SPARES_MAX) {
    throw new RangeError(`a volume has 1 to ${SPARES_MAX} spares, not ${config.spares.length}`);
  }
  section.writeUInt32LE(config.logicalBlockSize, CONFIG_AT.logicalBlockSize);
  section.writeUInt32LE(config.spares.length, CONFIG_AT.spareCount);
  putText(section, CONFIG_AT.name, NAME_MAX_BYTES, config.name);
  encodeDevice(config.main, section, CONFIG_AT.main);
  for (const [i, spare] of config.spares.entries()) {
    encodeDevice(spare, section, CONFIG_AT.spares + i * SPARE_RECORD_SIZE);
  }
  section.writeUInt32LE(configCrc(section), CONFIG_AT.crc);
}

export const configCrc = (section: Buffer): number => crc32cWithout(section, CONFIG_AT.crc);

/** Throws FormatError. With `strict` false, reserved bytes may have been given a meaning. */
export function decodeConfig(section: Buffer, strict: boolean): VolumeConfig {
  const logicalBlockSize = section.readUInt32LE(CONFIG_AT.logicalBlockSize);
  if (logicalBlockSize !== 512 && logicalBlockSize !== 4096) {
    throw new FormatError(`the logical block size is ${logicalBlockSize}`);
  }
  const spareCount = section.readUInt32LE(CONFIG_AT.spareCount);
  if (spareCount < 1 || spareCount > SPARES_MAX) {
    throw new FormatError(`the number of spares is ${spareCount}`);
  }
  const unused = CONFIG_AT.spares + spareCount * SPARE_RECORD_SIZE;
  if (strict) {
    requireZero(section, CONFIG_AT.flags, CONFIG_AT.name, 'an unknown flag of the configuration');
    const mainEnd = CONFIG_AT.main + SPARE_RECORD_SIZE;
    requireZero(section, mainEnd, CONFIG_AT.spares, 'a reserved byte of the main device');
    requireZero(section, unused, CONFIG_SIZE, 'a reserved byte of the configuration');
  }
  return {
    logicalBlockSize,
    name: getText(section, CONFIG_AT.name, NAME_MAX_BYTES),
    main: decodeDevice(section, CONFIG_AT.main, strict),
    spares: Array.from({ length: spareCount }, (_, i) =>
      decodeDevice(section, CONFIG_AT.spares + i * SPARE_RECORD_SIZE, strict),
    ),
  };
}

function encodeDevice(device: DeviceRecord, section: Buffer, at: number): void {
  const path = cutText(device.pathHint, PATH_HINT_SIZE);
  putUuid(section, at + DEVICE_AT.uuid, device.uuid);
  putU64(section, at + DEVICE_AT.sizeSectors, device.sizeSectors);
  section.writeUInt32LE(KINDS.indexOf(device.kind), at + DEVICE_AT.kind);
  putText(section, at + DEVICE_AT.identity, IDENTITY_SIZE, device.identity);
  putText(section, at + DEVICE_AT.pathHint, PATH_HINT_SIZE, path);
}

function decodeDevice(section: Buffer, at: number, strict: boolean): DeviceRecord {
  const kind = KINDS[section.readUInt32LE(at + DEVICE_AT.kind)];
  if (kind === undefined) throw new FormatError('a device is of an unknown kind');
  if (strict && !isZero(section, at + DEVICE_AT.reserved, at + DEVICE_AT.identity)) {
    throw new FormatError('a reserved byte of a device is not zero');
  }
  return {
    uuid: getUuid(section, at + DEVICE_AT.uuid),
    sizeSectors: getU64(section, at + DEVICE_AT.sizeSectors),
    kind,
    identity: getText(section, at + DEVICE_AT.identity, IDENTITY_SIZE),
    pathHint: getText(section, at + DEVICE_AT.pathHint, PATH_HINT_SIZE),
  };
}
