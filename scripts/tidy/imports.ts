/** Rules about who imports whom: layers, dead files, and the borders of the native code. */
import path from 'node:path';
import ts from 'typescript';
import { type Finding, finding, isNative, isTypeScript, lineAt, type SourceFile } from './file.js';

/** A folder of src imports itself and folders of a lower layer. */
const LAYERS: readonly (readonly string[])[] = [
  ['core'],
  ['ondisk', 'protocol'],
  ['native'],
  ['device'],
  ['metadata', 'remap', 'health'],
  ['volume'],
  ['discovery', 'control'],
  ['daemon'],
];

/** The admin program talks to a daemon, or to devices; it never holds a volume. */
const CLI_SEES = [
  ...['cli', 'core', 'ondisk', 'protocol', 'device', 'metadata', 'remap', 'discovery'],
];

/** Folders of pure decisions: no module of Node that does I/O. */
const PURE = ['ondisk', 'remap'];
const IO_MODULES = /^node:(fs|net|child_process|worker_threads|http|dgram)/;

export interface Import {
  readonly specifier: string;
  readonly line: number;
}

/** What a TypeScript file imports, statically or by import(). */
export function importsOf(file: SourceFile): Import[] {
  const { importedFiles } = ts.preProcessFile(file.text, true, true);
  return importedFiles.map(({ fileName, pos }) => ({
    specifier: fileName,
    line: lineAt(file.text, pos),
  }));
}

/** The .ts file that a relative import names; undefined for a package. */
export function resolveImport(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  return path.posix.join(path.posix.dirname(from), specifier).replace(/\.js$/, '.ts');
}

export function layering(file: SourceFile): Finding[] {
  const folder = folderOf(file.path);
  if (folder === undefined || !isTypeScript(file.path)) return [];
  const found: Finding[] = [];
  if (folder !== 'cli' && layerOf(folder) < 0) {
    found.push(finding(file.path, 0, `src/${folder} has no layer in scripts/tidy/imports.ts`));
  }
  for (const { specifier, line } of importsOf(file)) {
    const target = resolveImport(file.path, specifier);
    if (target === undefined) {
      if (PURE.includes(folder) && IO_MODULES.test(specifier)) {
        found.push(finding(file.path, line, `src/${folder} is pure and must not use ${specifier}`));
      }
      continue;
    }
    const seen = folderOf(target) ?? target;
    if (!maySee(folder, seen)) {
      found.push(finding(file.path, line, `src/${folder} must not import ${seen}`));
    }
  }
  return found;
}

/** Files of src, vm and scripts that no program and no test leads to. */
export function deadFiles(files: readonly SourceFile[]): Finding[] {
  const sources = new Map(
    files.filter(({ path: name }) => isTypeScript(name)).map((file) => [file.path, file]),
  );
  // A test keeps its helpers alive, but not a file of src that no program uses.
  const programs = reach(sources, (name) => ENTRY.test(name));
  const withTests = reach(sources, (name) => ENTRY.test(name) || name.endsWith('.test.ts'));
  return [...sources.keys()]
    .filter((name) => !(name.startsWith('test/') ? withTests : programs).has(name))
    .map((name) => finding(name, 0, 'nothing that runs imports this file'));
}

const ENTRY = /^(src\/(daemon|cli)\/main|scripts\/[^/]+|vm\/run)\.ts$/;

function reach(
  sources: ReadonlyMap<string, SourceFile>,
  isEntry: (name: string) => boolean,
): Set<string> {
  const reached = new Set([...sources.keys()].filter(isEntry));
  for (const name of reached) {
    const file = sources.get(name);
    for (const { specifier } of file ? importsOf(file) : []) {
      const target = resolveImport(name, specifier);
      if (target !== undefined && sources.has(target)) reached.add(target);
    }
  }
  return reached;
}

/** The addon alone sees Node's headers, and few files see libvhost-user's. */
const NATIVE_BORDERS: readonly { header: RegExp; allowed: RegExp }[] = [
  {
    header: /^napi\.h$/,
    allowed: /^(native\/(addon\w*|event_bridge)|test\/fixtures\/.*)\.(cc|h)$/,
  },
  { header: /^libvhost-user\.h$/, allowed: /^native\/libvhost_user\.h$/ },
  {
    header: /^(native\/)?libvhost_user\.h$/,
    allowed: /^(native\/(vhost_\w+|message_io)|test\/native\/.*)\.(cc|h)$/,
  },
];

export function nativeBorders(file: SourceFile): Finding[] {
  if (!isNative(file.path)) return [];
  return [...file.text.matchAll(/^\s*#\s*include\s+[<"]([^>"]+)[>"]/gm)].flatMap((match) => {
    const header = match[1] ?? '';
    const broken = NATIVE_BORDERS.some(
      (border) => border.header.test(header) && !border.allowed.test(file.path),
    );
    const message = `${header} must not be included here`;
    return broken ? [finding(file.path, lineAt(file.text, match.index), message)] : [];
  });
}

/** The addon is loaded in one place. */
export function addonLoading(file: SourceFile): Finding[] {
  const allowed = file.path === 'src/native/binding.ts' || !file.path.startsWith('src/');
  const index = allowed ? -1 : file.text.search(/createRequire|process\.dlopen/);
  if (index < 0) return [];
  const message = 'only src/native/binding.ts loads native code';
  return [finding(file.path, lineAt(file.text, index), message)];
}

const folderOf = (name: string): string | undefined => /^src\/([^/]+)\//.exec(name)?.[1];
const layerOf = (folder: string): number => LAYERS.findIndex((layer) => layer.includes(folder));

function maySee(folder: string, seen: string): boolean {
  if (folder === seen) return true;
  if (folder === 'cli') return CLI_SEES.includes(seen);
  const layer = layerOf(seen);
  return layer >= 0 && layer < layerOf(folder);
}
