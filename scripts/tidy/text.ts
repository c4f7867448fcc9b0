/** Rules about what stands in a file, and which files there are. */
import { type Finding, finding, isTypeScript, lineAt, type SourceFile } from './file.js';

interface Banned {
  readonly pattern: RegExp;
  readonly applies: (path: string) => boolean;
  readonly message: string;
}

const anywhere = (): boolean => true;
const inTests = (path: string): boolean => path.startsWith('test/');

const BANNED: readonly Banned[] = [
  {
    pattern: /\b(TODO|FIXME|XXX|HACK)\b/,
    applies: anywhere,
    message: 'do it now, or leave it out',
  },
  { pattern: /\.only\(|only: true/, applies: inTests, message: 'a test that hides the others' },
  {
    pattern: /\.(skip|todo)\(|skip: true|todo: true/,
    applies: inTests,
    message: 'a test that never runs',
  },
  { pattern: /^export default\b/m, applies: isTypeScript, message: 'export by name' },
  { pattern: /^\s*debugger;/m, applies: isTypeScript, message: 'left over from debugging' },
  { pattern: /[ \t]+$/m, applies: anywhere, message: 'white space at the end of a line' },
];

/** The first place of each pattern that must not be in a file. */
export function bannedText(file: SourceFile): Finding[] {
  const found = BANNED.filter(({ applies }) => applies(file.path)).flatMap((banned) => {
    const index = file.text.search(banned.pattern);
    return index < 0 ? [] : [finding(file.path, lineAt(file.text, index), banned.message)];
  });
  if (file.text !== '' && !file.text.endsWith('\n')) {
    found.push(finding(file.path, 0, 'no newline at the end'));
  }
  return found;
}

const EXTENSIONS = ['ts', 'cc', 'h', 'sh', 'md', 'json', 'supp', '1'];
const NAMES = ['Makefile', 'LICENSE', 'init', 'run', '.clang-format', '.gitignore'];

export function knownKind(file: SourceFile): Finding[] {
  const name = file.path.split('/').at(-1) ?? '';
  const extension = /\.([^.]+)$/.exec(name)?.[1] ?? '';
  if (NAMES.includes(name) || EXTENSIONS.includes(extension)) return [];
  return [finding(file.path, 0, 'a kind of file that scripts/tidy/text.ts does not know')];
}

/** Anything else below test/ would be run as a test, or by nobody. */
export function testPlace(file: SourceFile): Finding[] {
  const { path } = file;
  if (!path.startsWith('test/') || path.startsWith('test/fixtures/')) return [];
  if (path.endsWith('.test.ts') || /^test\/(native|fuzz)\//.test(path)) return [];
  return [finding(path, 0, 'what is no test lives under test/fixtures')];
}

export const ROOT_ENTRIES_MAX = 16;

export function rootEntries(files: readonly SourceFile[]): Finding[] {
  const entries = new Set(files.map(({ path }) => path.split('/')[0]));
  if (entries.size <= ROOT_ENTRIES_MAX) return [];
  return [finding('.', 0, `${entries.size} entries in the root; at most ${ROOT_ENTRIES_MAX}`)];
}
