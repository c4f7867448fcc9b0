/**
 * The two mistakes every new user makes with vhost-user, told from what QEMU and the back-end say.
 */

export type DiagnosisKind = 'memory-not-shared' | 'too-few-queues';

export interface Diagnosis {
  readonly kind: DiagnosisKind;
  readonly sentence: string;
}

/** Looks at one line of QEMU's stderr or of the back-end's log. */
export function diagnose(line: string): Diagnosis | undefined {
  if (/memory (is )?not shared/i.test(line)) {
    return {
      kind: 'memory-not-shared',
      sentence:
        "the guest's memory is not shared with the back-end: start QEMU with " +
        '-object memory-backend-memfd,id=mem,size=512M,share=on -machine memory-backend=mem',
    };
  }
  const queues = /maximum number of queues supported by the backend is (\d+)/i.exec(line);
  if (queues) {
    return {
      kind: 'too-few-queues',
      sentence:
        `the back-end offers ${queues[1]} queue(s) and QEMU asks for one for each vCPU: ` +
        'start the back-end with a higher --num-queues, ' +
        `or the device with num-queues=${queues[1]}`,
    };
  }
  return undefined;
}
