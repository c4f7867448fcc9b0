#!/usr/bin/env node
import { text } from 'node:stream/consumers';
import { run } from './run.js';

const { stdin, stdout, stderr, env } = process;

// A reader that has seen enough (`remapctl status | head`) is no error.
stdout.on('error', (e: NodeJS.ErrnoException) => {
  if (e.code !== 'EPIPE') throw e;
});

process.exitCode = await run(process.argv.slice(2), env, {
  out: (line) => stdout.write(line),
  err: (line) => stderr.write(line),
  readStdin: () => text(stdin),
  colour: stdout.isTTY === true && !env.NO_COLOR,
});
