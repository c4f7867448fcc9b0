# What a case's script may use besides busybox, mkfs.ext4, e2fsck and fio.

disk=/dev/vda

# Says what comes next.
step() {
  echo "@@step $*"
}

# Ends the case as failed.
fail() {
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
