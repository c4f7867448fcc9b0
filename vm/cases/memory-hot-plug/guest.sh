# A program's memory comes from the movable zone while it has pages: from the DIMM, and from
# nothing else, for no memory of the start is movable only.
movable_free() {
  awk '/zone/ { movable = $4 == "Movable" }
    movable && /nr_free_pages/ { sum += $2 }
    END { print sum + 0 }' /proc/zoneinfo
}

wait_for_movable() {
  for _ in $(seq 100); do
    [ "$(movable_free)" -lt 20000 ] || return 0
    usleep 100000
  done
  fail "the DIMM did not come: $(movable_free) pages are free in it"
}

# The job in the background has its buffers once it writes.
wait_for_writes() {
  for _ in $(seq 300); do
    [ "$(written)" = "$1" ] || return 0
    usleep 100000
  done
  fail 'fio does not write'
}

written() {
  awk '{ print $5 }' /sys/block/vda/stat
}

wait_for_disk
echo online_movable >/sys/devices/system/memory/auto_online_blocks
[ "$(movable_free)" = 0 ] || fail 'memory is movable before a DIMM was plugged in'

step 'plug in shared memory under load'
start_load --size=8m --iodepth=16
host plug-dimm shared1 shared
wait_for_movable
finish_load

step 'I/O through the new memory'
free=$(movable_free)
before=$(written)
dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null
fio_pass --offset=8m --size=8m --iodepth=32 --bs=64k --time_based --runtime=3 &
job=$!
wait_for_writes "$before"
used=$((free - $(movable_free)))
wait $job || fail 'fio failed'
[ $used -gt 500 ] || fail "fio has only $used pages of the DIMM"
dd if=/tmp/data of=$disk bs=4M seek=4 oflag=direct 2>/dev/null
dd if=$disk bs=4M skip=4 count=1 iflag=direct 2>/dev/null | cmp - /tmp/data
expect_no_kernel_errors
host no-errors

step 'instead of it plug in memory that is not shared, under a job that has its buffers elsewhere'
host unplug-dimm shared1
[ "$(movable_free)" = 0 ] || fail 'the DIMM is still there'
before=$(written)
fio_pass --size=4m --iodepth=8 --time_based --runtime=8 &
job=$!
wait_for_writes "$before"
host plug-dimm private1 private
wait_for_movable

step 'what touches it fails'
if dd if=$disk of=/dev/null bs=4M skip=4 count=1 iflag=direct 2>/tmp/dd; then
  fail 'the back-end read into memory that is not shared'
fi
grep -q 'Input/output error' /tmp/dd || fail "dd: $(cat /tmp/dd)"
if dd if=/tmp/data of=$disk bs=4M seek=4 oflag=direct 2>/tmp/dd; then
  fail 'the back-end wrote from memory that is not shared'
fi
host some-errors

step 'what does not goes on'
# The kernel keeps pages of a block device in memory that cannot move.
echo 3 >/proc/sys/vm/drop_caches
dd if=$disk bs=1M skip=16 count=4 2>/dev/null | cmp - /tmp/data || fail 'buffered reads fail'
dd if=/tmp/data of=$disk bs=1M seek=24 conv=fsync 2>/dev/null || fail 'buffered writes fail'
wait $job || fail 'fio failed'
host no-errors

step 'without that memory all is well'
host unplug-dimm private1
dd if=$disk bs=4M skip=4 count=1 iflag=direct 2>/dev/null | cmp - /tmp/data
dd if=$disk bs=4M skip=6 count=1 iflag=direct 2>/dev/null | cmp - /tmp/data
host no-errors
