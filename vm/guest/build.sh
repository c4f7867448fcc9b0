#!/usr/bin/env bash
# Builds .cache/guest/initrd-small: busybox, the kernel's virtio modules, and vm/guest/init; and
# .cache/guest/initrd: the programs cases use and their libraries as well. Does nothing when they
# are newer than all of that.
set -euo pipefail
cd "$(dirname "$0")/../.."

kernel=.cache/guest-kernel
image=.cache/guest
programs=(/usr/sbin/mkfs.ext4 /usr/sbin/e2fsck /usr/sbin/blkdiscard /usr/bin/fio)
inputs=(vm/guest/{build.sh,init,steps.sh,file-systems.sh} "$kernel/VERSION" /bin/busybox
  /etc/mke2fs.conf "${programs[@]}")

stamp=$(stat -L -c '%n %s %Y' "${inputs[@]}")
[[ -e $image/initrd && -e $image/initrd-small ]] &&
  [[ $stamp == "$(cat "$image/stamp" 2>/dev/null)" ]] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/bin" "$root/sbin" "$root/modules" "$image"
rm -f "$image/stamp"

# The loader finds a library where it found it here.
libraries() {
  ldd "$@" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p; s/^\s*\(\/[^ :]*\) (.*/\1/p' | sort -u
}

pack() {
  (cd "$root" && find . -print0 | LC_ALL=C sort -z | cpio --null --quiet -o -H newc) >"$work/$1"
  mv "$work/$1" "$image/$1"
}

cp /bin/busybox "$root/bin"
cp "$kernel"/modules/*.ko "$root/modules"
cp vm/guest/{init,steps.sh,file-systems.sh} "$root"
chmod +x "$root/init"
pack initrd-small

cp -L "${programs[@]}" "$root/sbin"
libraries "${programs[@]}" | while read -r library; do cp -L --parents "$library" "$root"; done
cp --parents /etc/mke2fs.conf "$root"
pack initrd
cp "$kernel/vmlinuz" "$image/vmlinuz"
echo "$stamp" >"$image/stamp"
