wait_for_disk
step 'the guest sees a disk that is read-only'
[ "$(cat /sys/block/vda/ro)" = 1 ] || fail 'the disk is not read-only'
host content
content=$answer

step 'read all of it; the back-end is killed meanwhile'
for _ in 1 2 3; do
  dd if=$disk bs=64k iflag=direct 2>/dev/null | sha256sum >>/tmp/sums
done &
job=$!
sleep 1
host kill-and-restart
wait $job
[ "$(sort -u /tmp/sums)" = "$content  -" ] || fail "$(cat /tmp/sums)"
[ "$(wc -l </tmp/sums)" = 3 ] || fail 'not all was read'

step 'nothing is written'
if dd if=/dev/zero of=$disk bs=4k count=1 conv=notrunc,fsync 2>/dev/null; then
  fail 'a write was taken'
fi
if blkdiscard -o 0 -l 65536 $disk 2>/dev/null; then
  fail 'a discard was taken'
fi
expect_no_kernel_errors
