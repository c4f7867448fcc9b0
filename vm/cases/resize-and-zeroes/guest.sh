size() {
  cat /sys/block/vda/size
}

# equal OFFSET COUNT FILE: COUNT KiB from OFFSET KiB on are the first of FILE.
equal() {
  dd if=$disk bs=1k skip="$1" count="$2" iflag=direct 2>/dev/null >/tmp/found
  head -c $(($2 * 1024)) "$3" | cmp - /tmp/found ||
    fail "$2 KiB from $1 KiB on are not $3"
}

wait_for_disk
dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null
dd if=/dev/zero of=/tmp/zeroes bs=1M count=4 2>/dev/null

step 'grow the disk'
[ "$(size)" = 131072 ] || fail "size is $(size) sectors"
start_load --size=4m --iodepth=8
host grow
for _ in $(seq 100); do
  [ "$(size)" != 196608 ] || break
  usleep 100000
done
[ "$(size)" = 196608 ] || fail "size is $(size) sectors"
finish_load

step 'write and read across and beyond the old end'
dd if=/tmp/data of=$disk bs=1M seek=62 oflag=direct 2>/dev/null
dd if=/tmp/data of=$disk bs=1M seek=92 oflag=direct 2>/dev/null
equal $((62 * 1024)) 4096 /tmp/data
equal $((92 * 1024)) 4096 /tmp/data
if dd if=/tmp/data of=$disk bs=1M seek=96 count=1 2>/dev/null; then
  fail 'a write beyond the new end was taken'
fi
first=$(tail -c +$((2 * 1024 * 1024 + 1)) /tmp/data | head -c 16 | hexdump -v -e '1/1 "%02x"')
host same-beyond-the-end "$first"

step 'write zeroes over remapped blocks'
# The first pass moves the bad blocks, the second finds them moved.
for _ in 1 2; do dd if=/tmp/data of=$disk bs=4k seek=1024 oflag=direct 2>/dev/null; done
host all-remapped
equal 4096 4096 /tmp/data
# All but the first and last block, so that the edges show what zeroing spares.
/sbin/blkdiscard -z -o $((4096 * 1024 + 4096)) -l $((4096 * 1024 - 8192)) $disk
equal 4096 4 /tmp/data
equal 4100 4088 /tmp/zeroes
tail -c 4096 /tmp/data >/tmp/last
equal 8188 4 /tmp/last

step 'discard gives space back'
dd if=/dev/urandom of=$disk bs=1M seek=8 count=16 oflag=direct 2>/dev/null
host blocks-full
/sbin/blkdiscard -o $((8 << 20)) -l $((16 << 20)) $disk
host blocks-given-back 15

step 'and so does fstrim'
mkfs.ext4 -q -F -b 4096 -E nodiscard,lazy_itable_init=0 $disk
mount -t ext4 $disk /mnt
dd if=/dev/urandom of=/mnt/file bs=1M count=24 conv=fsync 2>/dev/null
sum=$(dd if=/dev/urandom bs=1M count=2 2>/dev/null | tee /mnt/stays | sha256sum)
sync
host blocks-full
rm /mnt/file
sync
fstrim /mnt
host blocks-given-back 22
umount /mnt
e2fsck -fn $disk >/tmp/e2fsck 2>&1 || fail "$(cat /tmp/e2fsck)"
mount -t ext4 $disk /mnt
[ "$(sha256sum </mnt/stays)" = "$sum" ] || fail 'a file that stayed is not what it was'
umount /mnt
expect_no_kernel_errors
