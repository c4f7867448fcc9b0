# What the cases with a file system on a disk that wears out have in common. Each sets $mounts: what
# mount is told.

mkdir -p /etc /run/lock /var/lib/btrfs /tmp/sums
echo /bin/modprobe >/proc/sys/kernel/modprobe
wait_for_disk

# Files of a MiB that are written anew in place or elsewhere, and small ones. The sums are those of
# what was to be written.
write_files() {
  for n in $(seq 16); do
    dd if=/dev/urandom of=/tmp/new bs=64k count=16 2>/dev/null
    md5sum </tmp/new | sed "s/-\$/file$n/" >/tmp/sums/$n.new
    if [ $((n % 2)) = 0 ]; then
      dd if=/tmp/new of=/mnt/file$n bs=64k conv=notrunc 2>/dev/null
    else
      cp /tmp/new /mnt/file$n
    fi || return 1
    mv /tmp/sums/$n.new /tmp/sums/$n
  done
  mkdir -p /mnt/small
  for n in $(seq 100); do echo "$1 $n" >/mnt/small/$n || return 1; done
  echo "$1" >/tmp/small
  sync
}

# From the disk, not from the guest's memory.
expect_files() {
  echo 3 >/proc/sys/vm/drop_caches
  cat /tmp/sums/* >/tmp/all
  (cd /mnt && md5sum -c /tmp/all) >/tmp/verdicts 2>&1 || fail "$(grep -v ': OK$' /tmp/verdicts)"
  of=$(cat /tmp/small)
  for n in $(seq 100); do
    read -r line </mnt/small/$n
    [ "$line" = "$of $n" ] || fail "small file $n holds: $line"
  done
}

expect_no_file_system_errors() {
  expect_no_kernel_errors
  if dmesg | grep -iE 'XFS .*(error|corrupt|shut)|BTRFS.*(error|critical)|Disk failure'; then
    fail 'the kernel reported errors of a file system'
  fi
}

# write_until_stopped STAGE: and once more after that.
write_until_stopped() {
  rm -f /tmp/stop
  while [ ! -e /tmp/stop ]; do write_files "$1" || exit 1; done
  write_files "$1"
}

# wear_out [COMMAND]: four times 250 sectors go bad under the mounted file system, then all of it is
# written once; COMMAND runs before it is unmounted.
wear_out() {
  mount $mounts /mnt
  write_files 0
  for stage in 1 2 3 4; do
    step "stage $stage: 250 more sectors go bad while files are written"
    write_until_stopped $stage &
    writer=$!
    sleep 1
    host break-sectors
    touch /tmp/stop
    wait $writer || fail 'a file could not be written'
    host lose-moved
    expect_files
  done
  step 'fill the file system'
  dd if=/dev/zero of=/mnt/fill bs=1M 2>/dev/null || true
  sync
  rm /mnt/fill
  host lose-moved
  expect_files
  ${1:-true}
  umount /mnt
}

# check PROGRAM ARG...: it must find nothing.
check() {
  step "$*"
  "$@" >/tmp/checked 2>&1 || fail "$(tail -n 5 /tmp/checked)"
  tail -n 1 /tmp/checked
}

expect_files_back() {
  step 'mount again, and read the files back'
  mount $mounts /mnt
  expect_files
  umount /mnt
  expect_no_file_system_errors
  echo "$(wc -l </tmp/all) files are as they were written"
}
