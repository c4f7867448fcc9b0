import { readFileSync } from 'node:fs';
import t from 'tap';
import { classifyErrno, errnoName } from '../../src/volume/io-error.js';

t.test('names the errnos of Linux', async (t) => {
  t.equal(errnoName(5), 'EIO');
  t.equal(errnoName(28), 'ENOSPC');
  t.equal(errnoName(61), 'ENODATA');
  t.equal(errnoName(121), 'EREMOTEIO');
  t.equal(errnoName(84), 'EILSEQ');
  t.equal(errnoName(74), 'EBADMSG');
  t.equal(errnoName(67), 'ENOLINK');
  t.equal(errnoName(110), 'ETIMEDOUT');
  t.equal(errnoName(9999), 'errno 9999');
});

t.test('classes are those of the data plane', async (t) => {
  for (const medium of [5, 61, 121, 84, 74]) t.equal(classifyErrno(medium), 'medium');
  for (const transient of [110, 11, 4, 67]) t.equal(classifyErrno(transient), 'transient');
  for (const gone of [19, 6]) t.equal(classifyErrno(gone), 'gone');
  for (const other of [28, 122, 13, 30, 9999]) t.equal(classifyErrno(other), 'other');
  const header = readFileSync('native/io_error.h', 'utf8');
  const cases = [...header.matchAll(/case (E[A-Z]+):/g)].map((m) => m[1] as string);
  t.equal(cases.length, 9, 'native knows as many');
});
