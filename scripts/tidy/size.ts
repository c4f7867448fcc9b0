/** Rules about length: files, functions, lines. */
import ts from 'typescript';
import { type Finding, finding, isNative, isTypeScript, type SourceFile } from './file.js';

export const FILE_LINES_MAX = 500;
export const FUNCTION_LINES_MAX = 70;
export const LINE_COLUMNS_MAX = 100;

export function fileLength(file: SourceFile): Finding[] {
  const counts = isTypeScript(file.path) || isNative(file.path);
  if (!counts || file.path.startsWith('test/')) return [];
  const lines = file.text.split('\n').length - 1;
  if (lines <= FILE_LINES_MAX) return [];
  return [finding(file.path, 0, `${lines} lines; at most ${FILE_LINES_MAX}`)];
}

/** Functions of TypeScript outside the tests, where one test is one function. */
export function functionLength(file: SourceFile): Finding[] {
  if (!isTypeScript(file.path) || file.path.endsWith('.test.ts')) return [];
  const source = ts.createSourceFile(file.path, file.text, ts.ScriptTarget.Latest, true);
  const lineOf = (position: number) => source.getLineAndCharacterOfPosition(position).line + 1;
  const found: Finding[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) && 'body' in node && node.body) {
      const first = lineOf(node.getStart(source));
      const lines = lineOf(node.end) - first + 1;
      if (lines > FUNCTION_LINES_MAX) {
        const message = `a function of ${lines} lines; at most ${FUNCTION_LINES_MAX}`;
        found.push(finding(file.path, first, message));
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

const WRAPPED = /(\.(ts|cc|h|sh)|(^|\/)(Makefile|init|run))$/;

export function lineLength(file: SourceFile): Finding[] {
  if (!WRAPPED.test(file.path)) return [];
  return file.text.split('\n').flatMap((line, index) => {
    if (line.length <= LINE_COLUMNS_MAX) return [];
    const message = `${line.length} columns; at most ${LINE_COLUMNS_MAX}`;
    return [finding(file.path, index + 1, message)];
  });
}
