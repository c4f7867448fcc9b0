/**
 * Makes an image of the on-disk format as it is now, for later versions to open:
 * node dist/scripts/golden.js FILE. Never run it over an image that has been published.
 */
import { writeFileSync } from 'node:fs';
import { goldenImage } from '../test/fixtures/golden.js';

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error('name the file to write');
writeFileSync(file, `${JSON.stringify(await goldenImage(), undefined, 1)}\n`);
