#!/usr/bin/env bash
# Installs whatever building, testing and the demo need, and nothing that is there already.
#
#   scripts/setup.sh            all of that
#   scripts/setup.sh PART       what some guest cases ask for, into .cache: qemu-10,
#                               boot-loaders or file-systems
#
#   VHOST_USER_REMAP_CACHE=DIR   share downloads between clones
#   LIBVHOST_USER_DIR=DIR        use this copy of libvhost-user instead of Debian's
set -euo pipefail
cd "$(dirname "$0")/.."

cache=$PWD/.cache
shared=${VHOST_USER_REMAP_CACHE:-$cache}
log=$cache/setup.log

packages=(
  build-essential liburing-dev doctest-dev clang-format
  clang-14 libclang-rt-14-dev
  qemu-system-x86 qemu-utils busybox-static e2fsprogs fio gddrescue nbdkit libnbd-bin fuse3
  cpio dpkg-dev xz-utils util-linux ca-certificates debian-archive-keyring
)

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# Runs a command with its output in the log, and shows the end of the log when it fails.
run() {
  "$@" >>"$log" 2>&1 && return
  tail -n 15 "$log" >&2
  die "this failed: $* (whole log: $log)"
}

list_by_hand() {
  say "$1"
  say 'install these by hand (Debian 12 package names), then run this again:'
  say "  ${missing[*]}"
  exit 1
}

check_node() {
  command -v node >/dev/null && command -v npm >/dev/null ||
    die 'install Node.js 20 or newer, with npm.'
  local major
  major=$(node -p 'process.versions.node.split(".")[0]')
  ((major >= 20)) || die "Node.js $(node --version) is too old: install Node.js 20 or newer."
}

missing_packages() {
  local installed name
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" \
    2>/dev/null || true)
  for name in "${packages[@]}"; do
    grep -qx "installed $name" <<<"$installed" || echo "$name"
  done
}

install_packages() {
  missing=("${packages[@]}")
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    list_by_hand 'this needs Debian (dpkg and apt-get are not here).'
  fi
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]} == 0)) && return
  local root=()
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
      list_by_hand 'Debian packages are missing, and it needs root or sudo without a password.'
    fi
    root=(sudo -n)
  fi
  say "installing ${missing[*]}"
  run "${root[@]}" apt-get -q update
  run "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y --no-install-recommends install "${missing[@]}"
}

# The stamp is written last, so that an interrupted install is done again. tap is built with the
# plugins that package.json names: without that its first run would load all of them.
install_npm() {
  local stamp=node_modules/.installed-from
  cmp -s package-lock.json "$stamp" && return
  say 'installing npm packages'
  run npm ci --no-audit --no-fund
  run node_modules/.bin/tap build
  cp package-lock.json "$stamp"
}

# The Debian mirror this machine uses, or the public one.
mirror() {
  local url
  url=$(apt-get indextargets --format '$(SITE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    sed -n 's|.* \(https\{0,1\}://[^ ]*/debian\)/\{0,1\}$|\1|p' | head -n 1) || true
  echo "${url:-http://deb.debian.org/debian}"
}

# apt over lists of our own: the machine's apt configuration, lists and packages stay as they are,
# and none of it needs root.
private_apt() {
  apt-get -q \
    -o "Dir::Etc::SourceList=$cache/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o "Dir::State::Lists=$cache/apt/lists" -o "Dir::Cache=$cache/apt/cache" \
    -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User="$(id -un)" "$@"
}

suites=('deb-src trixie' 'deb bookworm')
lists_ready=
private_lists() {
  [[ -n $lists_ready ]] && return
  local suite from
  from=$(mirror)
  mkdir -p "$cache"/apt/{lists,cache}/partial "$cache/apt/cache/archives/partial"
  for suite in "${suites[@]}"; do
    echo "${suite% *} [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg arch=amd64]" \
      "$from ${suite#* } main"
  done >"$cache/apt/sources.list"
  run private_apt -o APT::Update::Error-Mode=any update
  lists_ready=1
}

# provide NAME FUNCTION: fills .cache/NAME, from the shared cache where one has it. FUNCTION gets
# an empty folder to fill; it becomes .cache/NAME only when whole.
provide() {
  local name=$1 fill=$2 made=$cache/$1.partial
  [[ -e $cache/$name/VERSION ]] && return
  if [[ ! -e $shared/$name/VERSION ]]; then
    rm -rf "$made" "$cache/download"
    mkdir -p "$made" "$cache/download" "$shared"
    private_lists
    (cd "$cache/download" && "$fill" "$made")
    rm -rf "$cache/download" "${shared:?}/$name.new" "${shared:?}/$name"
    cp -a "$made" "$shared/$name.new"
    mv "$shared/$name.new" "$shared/$name"
    rm -rf "$made"
  fi
  if [[ $shared != "$cache" ]]; then
    rm -rf "${cache:?}/$name"
    cp -a "$shared/$name" "$cache/$name"
  fi
}

# The seven files of QEMU's libvhost-user; symbolic links become the files they point at.
fill_libvhost_user() {
  local into=$1 source
  say 'downloading libvhost-user (in the source of QEMU, 40 MB)'
  run private_apt source --download-only qemu
  run tar -xf qemu_*.orig.tar.xz --strip-components=1 --wildcards \
    '*/subprojects/libvhost-user/libvhost-user.[ch]' '*/include/qemu/atomic.h' \
    '*/include/qemu/compiler.h' '*/include/standard-headers/linux/virtio_ring.h' \
    '*/include/standard-headers/linux/virtio_config.h' '*/include/standard-headers/linux/types.h'
  source=subprojects/libvhost-user
  mkdir -p "$into/include" "$into/standard-headers/linux"
  run cp "$source/libvhost-user.c" "$source/libvhost-user.h" "$into"
  run cp include/qemu/atomic.h include/qemu/compiler.h "$into/include"
  run cp include/standard-headers/linux/{virtio_ring,virtio_config,types}.h \
    "$into/standard-headers/linux"
  sed -n 's/^Version: /qemu /p' qemu_*.dsc >"$into/VERSION"
}

# Debian's kernel for cloud guests: small, with ext4 and the serial ports built in.
fill_guest_kernel() {
  local into=$1 package
  say "downloading the guest's kernel (27 MB)"
  package=$(private_apt_cache depends linux-image-cloud-amd64 |
    sed -n 's/.*Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
  [[ -n $package ]] || die "linux-image-cloud-amd64 is not in Debian bookworm at $(mirror)."
  run private_apt download "$package"
  run dpkg-deb -x "$package"_*.deb .
  run cp boot/vmlinuz-* "$into/vmlinuz"
  mkdir "$into/modules"
  find lib/modules \( -path '*/drivers/virtio/*.ko*' -o -name 'virtio_blk.ko*' \
    -o -name 'qemu_fw_cfg.ko*' \) -exec cp -t "$into/modules" {} +
  find "$into/modules" -name '*.xz' -exec xz -d {} +
  dpkg-deb -f "$package"_*.deb Package Version | sed 's/.*: //' | paste -sd ' ' >"$into/VERSION"
}

# unpack SUITE PACKAGE...: into this folder, with all they depend on that is not installed.
unpack() {
  local archive
  run private_apt -y -o Debug::NoLocking=1 --no-install-recommends --download-only \
    -t "$1" install "${@:2}"
  for archive in "$cache"/apt/cache/archives/*.deb; do run dpkg-deb -x "$archive" .; done
  mkdir -p usr/lib
  [[ ! -d lib ]] || cp -a lib/. usr/lib
}

fill_qemu_10() {
  local into=$1 suite=bookworm-backports
  say "downloading QEMU 10 from $suite (15 MB)"
  unpack "$suite" qemu-system-x86
  mkdir -p "$into"/usr/{bin,share,lib}
  run cp usr/bin/qemu-system-x86_64 "$into/usr/bin"
  run cp -a usr/share/{qemu,seabios} "$into/usr/share"
  run cp -a usr/lib/x86_64-linux-gnu "$into/usr/lib"
  cat >"$into/qemu-system-x86_64" <<'EOF'
#!/bin/sh
# QEMU looks for firmware where it was built to be: -L comes first.
usr=$(dirname "$(readlink -f "$0")")/usr
LD_LIBRARY_PATH=$usr/lib/x86_64-linux-gnu exec "$usr/bin/qemu-system-x86_64" \
  -L "$usr/share/qemu" -L "$usr/share/seabios" "$@"
EOF
  chmod +x "$into/qemu-system-x86_64"
  "$into/qemu-system-x86_64" --version >version 2>>"$log" ||
    die "QEMU of $suite does not run here (whole log: $log)."
  head -n 1 version >"$into/VERSION"
}

# GRUB as vm/boot-disk.ts puts it on a disk, and the firmware of vm/firmware.ts.
fill_boot_loaders() {
  local into=$1 modules=(ext2 part_msdos normal linux echo test serial terminal terminfo
    read configfile loadenv hashsum gcry_sha256)
  say 'downloading boot loaders and firmware (17 MB)'
  unpack bookworm grub-common grub-pc-bin grub-efi-amd64-bin mtools ovmf u-boot-qemu
  local -x LD_LIBRARY_PATH=$PWD/usr/lib/x86_64-linux-gnu
  local mkimage=(usr/bin/grub-mkimage -p '(,msdos2)/')
  run "${mkimage[@]}" -d usr/lib/grub/i386-pc -O i386-pc -o "$into/core.img" \
    biosdisk "${modules[@]}"
  run cp usr/lib/grub/i386-pc/boot.img "$into"
  run "${mkimage[@]}" -d usr/lib/grub/x86_64-efi -O x86_64-efi -o grub.efi "${modules[@]}"
  run usr/bin/mformat -i "$into/esp.img" -C -T 8192 -h 16 -s 32 ::
  run usr/bin/mmd -i "$into/esp.img" ::/EFI ::/EFI/BOOT
  run usr/bin/mcopy -i "$into/esp.img" grub.efi ::/EFI/BOOT/BOOTX64.EFI
  run cp usr/share/ovmf/OVMF.fd usr/lib/u-boot/qemu-x86/u-boot.rom "$into"
  ls "$cache/apt/cache/archives" | grep '\.deb$' >"$into/VERSION"
}

# What the fs-* cases add to the guest's initrd: modules of its kernel, and the tools for them.
fill_file_systems() {
  local into=$1 package version modules programs
  say 'downloading xfs, btrfs, LVM and md for guests (31 MB)'
  read -r package version <"$cache/guest-kernel/VERSION"
  run private_apt download "$package=$version"
  run dpkg-deb -x "$package"_*.deb kernel
  unpack bookworm xfsprogs btrfs-progs lvm2 mdadm
  modules=root/lib/modules/$(basename kernel/lib/modules/*)
  mkdir -p "$modules" root/sbin
  (cd kernel/lib/modules/* && cp -a --parents kernel/{fs/xfs,fs/btrfs,lib,crypto,drivers/md} \
    kernel/drivers/block/brd.ko* "$OLDPWD/$modules")
  find "$modules" -name '*.xz' -exec xz -d {} +
  run busybox depmod -b root "$(basename "$modules")"
  # What was installed before was not unpacked.
  local -x PATH=$PWD/usr/sbin:$PWD/sbin:$PWD/usr/bin:$PWD/bin:$PATH:/usr/sbin:/sbin
  local -x LD_LIBRARY_PATH=$PWD/usr/lib/x86_64-linux-gnu
  programs=(mkfs.xfs xfs_repair mkfs.btrfs btrfs lvm mdadm)
  mapfile -t programs < <(type -P "${programs[@]}")
  ((${#programs[@]} == 6)) || die "of the tools there are only: ${programs[*]}."
  run cp -L "${programs[@]}" root/sbin
  mkdir -p root/lib/x86_64-linux-gnu root/lib64
  ldd "${programs[@]}" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u |
    xargs cp -L -t root/lib/x86_64-linux-gnu
  cp -L /lib64/ld-linux-x86-64.so.2 root/lib64
  (cd root && find . | cpio --quiet -o -H newc) >"$into/initrd"
  { echo "$package $version"; ls "$cache/apt/cache/archives" | grep '\.deb$'; } >"$into/VERSION"
}

private_apt_cache() {
  apt-cache -o "Dir::Etc::SourceList=$cache/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o "Dir::State::Lists=$cache/apt/lists" -o "Dir::Cache=$cache/apt/cache" "$@"
}

provide_libvhost_user() {
  if [[ -n ${LIBVHOST_USER_DIR:-} ]]; then
    [[ -e $LIBVHOST_USER_DIR/libvhost-user.c ]] ||
      die "LIBVHOST_USER_DIR=$LIBVHOST_USER_DIR holds no libvhost-user.c."
    return
  fi
  provide libvhost-user fill_libvhost_user
}

mkdir -p "$cache"
exec 9>"$cache/setup.lock"
command -v flock >/dev/null && flock 9
: >"$log"
if (($# > 0)); then
  suites=('deb bookworm')
  case $* in
    qemu-10)
      suites+=('deb bookworm-backports')
      provide qemu-10 fill_qemu_10
      ;;
    boot-loaders) provide boot-loaders fill_boot_loaders ;;
    file-systems)
      provide guest-kernel fill_guest_kernel
      provide file-systems fill_file_systems
      ;;
    *) die 'it takes qemu-10, boot-loaders or file-systems, or nothing.' ;;
  esac
else
  check_node
  install_packages
  install_npm
  provide_libvhost_user
  provide guest-kernel fill_guest_kernel
fi
rm -rf "$cache/apt"
