/** What the guest says on its second serial port: output, and lines that begin with @@. */

export type GuestEvent =
  | { readonly kind: 'output'; readonly text: string }
  | { readonly kind: 'booted'; readonly text: string }
  /** What the script does next, for people. */
  | { readonly kind: 'step'; readonly text: string }
  /** The script waits for the host to run a step; answered with one line. */
  | { readonly kind: 'host'; readonly name: string; readonly args: readonly string[] }
  /** Why the script gives up; its exit follows. */
  | { readonly kind: 'fail'; readonly text: string }
  | { readonly kind: 'exit'; readonly code: number };

export function parseGuestLine(line: string): GuestEvent {
  const text = line.replace(/\r$/, '');
  const match = /^@@(booted|step|host|fail|exit) ?(.*)$/.exec(text);
  const rest = match?.[2] ?? '';
  switch (match?.[1]) {
    case 'booted':
      return { kind: 'booted', text: rest };
    case 'step':
      return { kind: 'step', text: rest };
    case 'fail':
      return { kind: 'fail', text: rest };
    case 'exit':
      return { kind: 'exit', code: Number(rest) };
    case 'host': {
      const [name = '', ...args] = rest.split(' ').filter((word) => word !== '');
      return { kind: 'host', name, args };
    }
    default:
      return { kind: 'output', text };
  }
}

/** One line whatever the text: the guest reads exactly one. */
export const answerLine = (ok: boolean, text: string): string =>
  `${ok ? 'ok' : 'fail'} ${text.replace(/\s+/g, ' ')}`.trimEnd();
