import type { Finding, SourceFile } from './file.js';
import { addonLoading, deadFiles, layering, nativeBorders } from './imports.js';
import { deadLinks } from './links.js';
import { fileLength, functionLength, lineLength } from './size.js';
import { bannedText, knownKind, rootEntries, testPlace } from './text.js';

type Rule = (file: SourceFile, all: readonly SourceFile[]) => Finding[];

/** Every rule by name; each looks at one file. */
const FILE_RULES: Readonly<Record<string, Rule>> = {
  layering,
  nativeBorders,
  addonLoading,
  fileLength,
  functionLength,
  lineLength,
  bannedText,
  knownKind,
  testPlace,
  deadLinks,
};

/** These look at all files together. */
const PROJECT_RULES: Readonly<Record<string, (all: readonly SourceFile[]) => Finding[]>> = {
  deadFiles,
  rootEntries,
};

/** What may break a rule, and why. */
const EXCEPTIONS: readonly { rule: string; path: RegExp; reason: string }[] = [
  { rule: 'bannedText', path: /^scripts\/tidy\//, reason: 'it names what it bans' },
  { rule: 'bannedText', path: /^test\/scripts\/tidy\.test\.ts$/, reason: 'it tests the rule' },
  { rule: 'bannedText', path: /^LICENSE$/, reason: 'the text is not ours' },
];

export interface RuleResult {
  readonly rule: string;
  readonly findings: readonly Finding[];
}

export function checkAll(files: readonly SourceFile[]): RuleResult[] {
  const results = [
    ...Object.entries(FILE_RULES).map(([rule, check]) => ({
      rule,
      findings: files.flatMap((file) => check(file, files)),
    })),
    ...Object.entries(PROJECT_RULES).map(([rule, check]) => ({ rule, findings: check(files) })),
  ];
  return results.map(({ rule, findings }) => ({
    rule,
    findings: findings.filter(
      ({ path }) => !EXCEPTIONS.some((known) => known.rule === rule && known.path.test(path)),
    ),
  }));
}
