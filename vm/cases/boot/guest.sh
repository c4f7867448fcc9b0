step 'the disk has the size of the main device'
wait_for_disk
[ "$(cat /sys/block/vda/size)" = 131072 ] || fail "size is $(cat /sys/block/vda/size) sectors"

step 'what is written at the start, across the middle and at the end reads back'
dd if=/dev/urandom of=/tmp/data bs=1M count=3 2>/dev/null
for offset in 0 30 61; do
  dd if=/tmp/data of=$disk bs=1M seek=$offset oflag=direct 2>/dev/null
done
sync
echo 3 >/proc/sys/vm/drop_caches
for offset in 0 30 61; do
  dd if=$disk bs=1M skip=$offset count=3 iflag=direct 2>/dev/null | cmp - /tmp/data
done

step 'the host sees the same'
sum=$(sha256sum </tmp/data)
host same-on-main "${sum%% *}"
expect_no_kernel_errors
