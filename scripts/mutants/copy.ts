import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { type Mutant, mutated } from '../../test/fixtures/mutants/mutant.js';
import { inRoot } from '../../vm/paths.js';

/** The slowest of the tests named takes a tenth of this. */
const TEST_TIMEOUT_MS = 180_000;
const COPIED = ['native', 'src', 'test', 'vm', 'scripts', 'dist', 'package.json', 'tsconfig.json'];
const LINKED = ['node_modules', '.cache/libvhost-user'];

/** A built copy of the sources, to put bugs into: what is under way in the original stays whole. */
export class Copy {
  readonly #root: string;

  private constructor(root: string) {
    this.#root = root;
  }

  static async make(): Promise<Copy> {
    const root = inRoot('.cache/mutants');
    mkdirSync(path.join(root, '.cache'), { recursive: true });
    for (const name of COPIED) {
      const options = { recursive: true, force: true, preserveTimestamps: true };
      cpSync(inRoot(name), path.join(root, name), options);
    }
    for (const name of LINKED) {
      const link = path.join(root, name);
      if (!existsSync(link)) symlinkSync(inRoot(name), link);
    }
    const copy = new Copy(root);
    await copy.#make();
    return copy;
  }

  /** Throws when the bug does not fit into the source, or does not compile. */
  async mutate(mutant: Mutant): Promise<void> {
    const source = readFileSync(inRoot(mutant.file), 'utf8');
    await this.#build(mutant.file, mutated({ ...mutant, source }));
  }

  async restore({ file }: Mutant): Promise<void> {
    await this.#build(file, readFileSync(inRoot(file), 'utf8'));
  }

  /** A test that does not end has failed. */
  async passes(test: string): Promise<boolean> {
    if (!test.startsWith('unit ')) {
      return this.#succeeds(process.execPath, [`dist/test/${test}.test.js`]);
    }
    return this.#succeeds('native/build/unit_tests', [`-tc=${test.slice('unit '.length)}`]);
  }

  async #build(file: string, source: string): Promise<void> {
    writeFileSync(path.join(this.#root, file), source);
    if (!file.endsWith('.ts')) return this.#make();
    const { target, module } = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext };
    const options = { compilerOptions: { target, module }, reportDiagnostics: true };
    const { outputText, diagnostics = [] } = ts.transpileModule(source, options);
    if (diagnostics.length > 0) throw new Error(`${file} cannot be parsed with this bug`);
    writeFileSync(path.join(this.#root, 'dist', file.replace(/\.ts$/, '.js')), outputText);
  }

  async #make(): Promise<void> {
    if (await this.#succeeds('make', ['--silent', '-j2', '-C', 'native', 'all', 'unit'])) return;
    throw new Error('the native code does not compile with this bug');
  }

  #succeeds(program: string, args: readonly string[]): Promise<boolean> {
    return new Promise((resolve) => {
      const env = { ...process.env, TAP_TIMEOUT: `${TEST_TIMEOUT_MS / 1000}` };
      const options = { cwd: this.#root, env, stdio: 'ignore', timeout: TEST_TIMEOUT_MS } as const;
      const child = spawn(program, args, options);
      child.on('error', () => resolve(false));
      child.on('close', (code) => resolve(code === 0));
    });
  }
}
