#!/usr/bin/env bash
# Builds what is out of date: TypeScript into dist, native code into native/build, the guest's
# image into .cache.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ -n ${LIBVHOST_USER_DIR:-} ]]; then
  LIBVHOST_USER_DIR=$(realpath "$LIBVHOST_USER_DIR")
  export LIBVHOST_USER_DIR
fi

# What was compiled from a file that is gone would still be run as a test.
if [[ -d dist ]]; then
  find dist -name '*.js' | while read -r output; do
    source=${output#dist/}
    [[ -e ${source%.js}.ts ]] || rm -f "$output" "$output.map"
  done
fi

node_modules/.bin/tsc -p . --pretty false
# The compiler does not set it, and both are programs.
chmod +x dist/src/daemon/main.js dist/src/cli/main.js
make --silent --no-print-directory -j2 -C native all unit front-end
vm/guest/build.sh
