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

# The stamp is of the moment before, so that what changes meanwhile is compiled next time.
sources=(src test vm scripts tsconfig.json package-lock.json)
if [[ ! -e dist/.built || -n $(find "${sources[@]}" -newer dist/.built -print -quit) ]]; then
  mkdir -p dist
  touch dist/.building
  node_modules/.bin/tsc -p . --pretty false
  mv dist/.building dist/.built
fi
# The compiler does not set it, and both are programs.
chmod +x dist/src/daemon/main.js dist/src/cli/main.js
make --silent --no-print-directory -j2 -C native all unit front-end
vm/guest/build.sh
