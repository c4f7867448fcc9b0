/** A file of the project as the rules see it. */
export interface SourceFile {
  /** Relative to the project's folder, with slashes. */
  readonly path: string;
  readonly text: string;
}

/** One thing to mend. `line` counts from 1; 0 speaks of the whole file. */
export interface Finding {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

export const finding = (path: string, line: number, message: string): Finding => ({
  path,
  line,
  message,
});

/** The line that the character at `index` stands on. */
export const lineAt = (text: string, index: number): number =>
  text.slice(0, index).split('\n').length;

export const isTypeScript = (path: string): boolean => path.endsWith('.ts');
export const isNative = (path: string): boolean => /\.(cc|h)$/.test(path);
