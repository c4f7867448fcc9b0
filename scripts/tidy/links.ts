/** Rules about Markdown: links and the paths it names lead somewhere. */
import path from 'node:path';
import { type Finding, finding, lineAt, type SourceFile } from './file.js';

const LINK = /\[[^\]]*\]\(([^)\s]+)\)/g;
const CODE_PATH = /`((?:src|native|test|vm|scripts|docs|\.ci)\/[\w./-]+)`/g;

/** Links to files and headings of the project; other sites are not asked. */
export function deadLinks(file: SourceFile, all: readonly SourceFile[]): Finding[] {
  if (!file.path.endsWith('.md')) return [];
  const at = (index: number, message: string) =>
    finding(file.path, lineAt(file.text, index), message);
  const links = [...file.text.matchAll(LINK)].flatMap(({ 1: target = '', index }) => {
    if (/^[a-z]+:/.test(target)) return [];
    const [name = '', anchor] = target.split('#');
    const aim = name === '' ? file.path : path.posix.join(path.posix.dirname(file.path), name);
    if (!exists(aim, all)) return [at(index, `${target} leads nowhere`)];
    const aimed = all.find((other) => other.path === aim);
    if (anchor === undefined || aimed === undefined || headings(aimed.text).has(anchor)) return [];
    return [at(index, `${aim} has no heading for #${anchor}`)];
  });
  const paths = [...file.text.matchAll(CODE_PATH)].flatMap(({ 1: name = '', index }) =>
    exists(name, all) ? [] : [at(index, `there is no ${name}`)],
  );
  return [...links, ...paths];
}

/** A file, a folder, or a file named without its extension. */
function exists(name: string, all: readonly SourceFile[]): boolean {
  const wanted = name.replace(/\/$/, '');
  return all.some(
    ({ path: known }) =>
      known === wanted || known.startsWith(`${wanted}/`) || known.startsWith(`${wanted}.`),
  );
}

/** The anchors of a page, as Git forges make them of its headings. */
function headings(text: string): Set<string> {
  const lines = text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#{1,6} +(.+)$/gm);
  return new Set(
    [...lines].map(({ 1: heading = '' }) =>
      heading
        .trim()
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .replace(/\s/g, '-'),
    ),
  );
}
