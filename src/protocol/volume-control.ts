import type {
  ExtentMessage,
  FaultFilter,
  FaultRequest,
  FaultRow,
  MoveReport,
  PendingRow,
  RemapRow,
  ResizeReport,
  VolumeStatus,
} from './messages.js';

/**
 * What the control socket asks of a volume; `src/volume` answers. Everything is in sectors of the
 * volume. Methods throw RemapError.
 */
export interface VolumeControl {
  status(): VolumeStatus;
  /**
   * Makes the volume as long as main has become, durably, and tells the front-end. RANGE when main
   * is shorter than the volume.
   */
  resize(): Promise<ResizeReport>;
  /** Remaps go on, whatever stopped them; they stop again when main does not work after all. */
  resumeRemapping(): Promise<{ wasOpen: boolean }>;
  listRemaps(): { remaps: RemapRow[]; pending: PendingRow[] };
  /**
   * Moves healthy or failing blocks to a spare (design section 4). RANGE when an extent is not
   * aligned to the logical block, outside the volume or doubled; nothing is changed then.
   */
  addRemaps(extents: readonly ExtentMessage[]): Promise<MoveReport>;
  /** Moves blocks back to main and frees their spare. NOT_REMAPPED when no sector was remapped. */
  removeRemaps(extents: readonly ExtentMessage[]): Promise<MoveReport>;
  /** All or none. FAULTS_OFF without --allow-fault-injection. */
  addFaults(faults: readonly FaultRequest[]): FaultRow[];
  listFaults(): FaultRow[];
  /** Returns how many went. */
  clearFaults(filter: FaultFilter): number;
}
