# Ten blocks, one request each, nobody flushes.
write_blocks() {
  dd if=/dev/urandom of=$disk bs=4k count=10 seek="$1" oflag=direct 2>/dev/null
}

wait_for_disk
step 'with the write cache on, writes are not flushed until the guest asks'
[ "$(cat /sys/block/vda/cache_type)" = 'write back' ] || fail "$(cat /sys/block/vda/cache_type)"
host count-flushes
write_blocks 0
host expect-flushes 0 0
host count-flushes
dd if=/dev/urandom of=$disk bs=4k count=1 seek=20 conv=fsync 2>/dev/null
host expect-flushes 1 1

step 'with it off, each write is durable when it is answered, and the guest asks for nothing'
echo 'write through' >/sys/block/vda/cache_type
[ "$(cat /sys/block/vda/cache_type)" = 'write through' ] || fail 'the write cache stays on'
host count-flushes
write_blocks 30
host expect-flushes 0 10
host count-flushes
dd if=/dev/urandom of=$disk bs=4k count=1 seek=50 conv=fsync 2>/dev/null
host expect-flushes 0 1

step 'and on again'
echo 'write back' >/sys/block/vda/cache_type
host count-flushes
write_blocks 60
host expect-flushes 0 0

step 'discards give space back'
dd if=/dev/urandom of=$disk bs=1M seek=8 count=16 oflag=direct 2>/dev/null
sync
host blocks-full
blkdiscard -o $((8 << 20)) -l $((16 << 20)) $disk
host blocks-given-back 15

step 'zeroes read back'
dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null
dd if=/tmp/data of=$disk bs=1M seek=32 oflag=direct 2>/dev/null
/sbin/blkdiscard -z -o $((33 << 20)) -l $((2 << 20)) $disk
dd if=/dev/zero of=/tmp/data bs=1M seek=1 count=2 conv=notrunc 2>/dev/null
dd if=$disk bs=1M skip=32 count=4 iflag=direct 2>/dev/null | cmp - /tmp/data
expect_no_kernel_errors
