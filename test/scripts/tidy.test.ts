import t from 'tap';
import type { Finding, SourceFile } from '../../scripts/tidy/file.js';
import { addonLoading, deadFiles, layering, nativeBorders } from '../../scripts/tidy/imports.js';
import { deadLinks } from '../../scripts/tidy/links.js';
import { fileLength, functionLength, lineLength } from '../../scripts/tidy/size.js';
import { bannedText, knownKind, rootEntries, testPlace } from '../../scripts/tidy/text.js';

const file = (path: string, text = ''): SourceFile => ({ path, text });
const lines = (found: readonly Finding[]): number[] => found.map(({ line }) => line);

t.test('layering', (t) => {
  const check = (path: string, specifier: string) =>
    lines(
      layering(file(path, `import { x } from './own.js';\nimport { y } from '${specifier}';\n`)),
    );
  t.same(check('src/volume/volume.ts', '../metadata/store.js'), [], 'a lower layer');
  t.same(check('src/metadata/store.ts', '../volume/volume.js'), [2], 'a higher layer');
  t.same(check('src/metadata/store.ts', '../remap/table.js'), [2], 'the same layer');
  t.same(check('src/native/backend.ts', '../device/file-device.js'), [2], 'device is above');
  t.same(check('src/cli/commands/check.ts', '../../metadata/store.js'), [], 'cli sees metadata');
  t.same(check('src/cli/commands/check.ts', '../../volume/volume.js'), [2], 'cli sees no volume');
  t.same(check('src/cli/commands/check.ts', '../../native/abi.js'), [2], 'cli sees no native');
  t.same(check('src/daemon/main.ts', '../cli/render.js'), [2], 'nobody sees cli');
  t.same(check('src/core/log.ts', '../../vm/paths.js'), [2], 'src sees nothing outside');
  t.same(check('src/ondisk/layout.ts', 'node:fs/promises'), [2], 'a pure folder does no I/O');
  t.same(check('src/device/file-device.ts', 'node:fs/promises'), [], 'device does');
  t.same(check('src/novel/x.ts', '../core/log.js'), [0, 2], 'a folder without a layer');
  t.end();
});

t.test('native borders', (t) => {
  const check = (path: string, header: string) =>
    nativeBorders(file(path, `// x\n#include ${header}\n`)).length;
  t.equal(check('native/addon_device.cc', '<napi.h>'), 0);
  t.equal(check('native/queue_worker.cc', '<napi.h>'), 1);
  t.equal(check('native/vhost_session.cc', '"native/libvhost_user.h"'), 0);
  t.equal(check('native/virtqueue.cc', '"native/libvhost_user.h"'), 1);
  t.equal(check('native/vhost_session.cc', '"libvhost-user.h"'), 1);
  t.equal(addonLoading(file('src/native/binding.ts', 'createRequire(x)')).length, 0);
  t.equal(addonLoading(file('src/device/file-device.ts', 'createRequire(x)')).length, 1);
  t.end();
});

t.test('dead files', (t) => {
  const files = [
    file('src/daemon/main.ts', "import '../core/a.js';\nawait import('../core/b.js');\n"),
    file('src/core/a.ts', "export type { C } from './c.js';\n"),
    file('src/core/b.ts'),
    file('src/core/c.ts'),
    file('src/core/only-tested.ts'),
    file(
      'test/core/x.test.ts',
      "import '../../src/core/only-tested.js';\nimport '../fixtures/y.js';",
    ),
    file('test/fixtures/y.ts'),
    file('test/fixtures/z.ts'),
  ];
  t.same(
    deadFiles(files)
      .map(({ path }) => path)
      .sort(),
    ['src/core/only-tested.ts', 'test/fixtures/z.ts'],
  );
  t.end();
});

t.test('lengths', (t) => {
  t.equal(fileLength(file('src/a.ts', 'x;\n'.repeat(500))).length, 0);
  t.equal(fileLength(file('src/a.ts', 'x;\n'.repeat(501))).length, 1);
  const method = (body: number) => `class A {\n  m() {\n${'    x;\n'.repeat(body)}  }\n}\n`;
  t.same(lines(functionLength(file('src/a.ts', method(68)))), []);
  t.same(lines(functionLength(file('src/a.ts', method(69)))), [2]);
  const arrow = `const f = () => {\n${'  x;\n'.repeat(69)}};\n`;
  t.same(lines(functionLength(file('vm/a.ts', arrow))), [1]);
  t.same(lines(functionLength(file('test/a.test.ts', arrow))), [], 'a test is one function');
  t.same(lines(lineLength(file('native/a.cc', `${'x'.repeat(100)}\n${'x'.repeat(101)}\n`))), [2]);
  t.same(lines(lineLength(file('docs/a.md', `${'x'.repeat(101)}\n`))), []);
  t.end();
});

t.test('text', (t) => {
  const check = (path: string, text: string) => lines(bannedText(file(path, text)));
  t.same(check('src/a.ts', 'x;\n'), []);
  t.same(check('src/a.ts', 'x;\n// TODO: y\n'), [2]);
  t.same(check('src/a.ts', 'x;\nexport default x;\n'), [2]);
  t.same(check('src/a.ts', 'x; \n'), [1]);
  t.same(check('src/a.ts', 'x;'), [0]);
  t.same(check('test/a.test.ts', "x;\nt.only('x');\n"), [2]);
  t.same(check('test/a.test.ts', "x;\nt.skip('x');\n"), [2]);
  t.same(check('src/a.ts', 'reader.skip(4);\n'), []);
  t.end();
});

t.test('places', (t) => {
  t.equal(knownKind(file('native/Makefile')).length, 0);
  t.equal(knownKind(file('data.bin')).length, 1);
  t.equal(testPlace(file('test/core/units.test.ts')).length, 0);
  t.equal(testPlace(file('test/native/virtqueue_test.cc')).length, 0);
  t.equal(testPlace(file('test/fuzz/guest.h')).length, 0);
  t.equal(testPlace(file('test/fixtures/front-end.ts')).length, 0);
  t.equal(testPlace(file('test/core/helper.ts')).length, 1);
  const roots = (count: number) =>
    rootEntries(Array.from({ length: count }, (_, n) => file(`${n}/a.ts`))).length;
  t.equal(roots(16), 0);
  t.equal(roots(17), 1);
  t.end();
});

t.test('dead links', (t) => {
  const others = [
    file('docs/errors.md', '# Errors\n\n## What a guest sees?\n'),
    file('src/core/a.ts'),
  ];
  const check = (text: string) => {
    const page = file('docs/page.md', `# Page\n${text}\n`);
    return deadLinks(page, [page, ...others]).length;
  };
  t.equal(check('[x](errors.md) [y](../src/core/a.ts) [z](../src) [w](https://x.org/y)'), 0);
  t.equal(check('[x](missing.md)'), 1);
  t.equal(check('[x](errors.md#what-a-guest-sees) [y](#page)'), 0);
  t.equal(check('[x](errors.md#what-it-sees)'), 1);
  t.equal(check('`src/core/a` and `src/core/`'), 0);
  t.equal(check('`src/core/b.ts`'), 1);
  t.end();
});
