# What a case's script may use besides busybox, mkfs.ext4, e2fsck, blkdiscard and fio.

disk=/dev/vda

# Says what comes next.
step() {
  echo "@@step $*"
}

# Ends the case as failed.
fail() {
  [ ! -e /tmp/fio.failed ] || grep -E 'verify: [^(]|err=' /tmp/fio.failed | head -n 3
  echo "@@fail $*"
  exit 1
}

# host NAME [ARG...]: has the host run a step of the case, waits, and prints its answer.
host() {
  echo "@@host $*" >/dev/ttyS1
  read -r verdict answer </dev/ttyS1
  [ "$verdict" = ok ] || fail "host step $1: $answer"
  [ -z "$answer" ] || echo "$answer"
}

# fio_pass OPTION...: fio fills a part of the disk with data of this pass alone and verifies it.
fio_pass() {
  fio --name=verify --filename=$disk --rw=randwrite --bs=4k --direct=1 --ioengine=libaio --thread \
    --randrepeat=0 --verify=crc32c --verify_fatal=1 "$@" >/tmp/fio 2>&1 && return
  cp /tmp/fio /tmp/fio.failed
  return 1
}

# start_load OPTION...: one pass after another in the background, until finish_load.
start_load() {
  rm -f /tmp/load.stop
  while [ ! -e /tmp/load.stop ]; do
    fio_pass "$@" || exit 1
    echo pass >>/tmp/load.passes
  done &
  load=$!
  sleep 1
}

finish_load() {
  touch /tmp/load.stop
  wait $load || fail 'fio failed'
  echo "passes of fio verified: $(wc -l </tmp/load.passes)"
}

# Fails when the kernel reported an error of the disk or of a filesystem on it.
expect_no_kernel_errors() {
  if dmesg | grep -iE 'I/O error|EXT4-fs (error|warning)|Buffer I/O|blk_update_request|hung'; then
    fail 'the kernel reported errors'
  fi
}

# The disk appears a moment after its driver.
wait_for_disk() {
  for _ in $(seq 100); do
    [ ! -b "$disk" ] || return 0
    usleep 100000
  done
  fail "no disk appeared"
}

wait_for_no_disk() {
  for _ in $(seq 100); do
    [ -b "$disk" ] || return 0
    usleep 100000
  done
  fail 'the disk is still there'
}

# expect_boot_from_disk PLATFORM: this kernel came from a disk of vm/boot-disk.ts, through the
# firmware GRUB calls PLATFORM; what GRUB read there was whole, and what it wrote is there.
expect_boot_from_disk() {
  step 'the kernel, its command line and the data that GRUB read are those of the disk'
  grep -q 'boot.data=whole' /proc/cmdline || fail "GRUB read other data: $(cat /proc/cmdline)"
  host token
  grep -q "boot.token=$answer" /proc/cmdline || fail "another token: $(cat /proc/cmdline)"
  wait_for_disk
  mount -t ext4 -o ro ${disk}2 /mnt
  (cd /mnt && sha256sum -c sums) || fail 'Linux reads other data'
  grep -q "written_by=grub-$1" /mnt/grubenv || fail 'what GRUB wrote is not there'
  umount /mnt
  expect_no_kernel_errors
}
