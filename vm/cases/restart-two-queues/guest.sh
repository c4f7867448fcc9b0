wait_for_disk
step 'two CPUs, two queues'
[ "$(nproc)" = 2 ] || fail "$(nproc) CPU"
[ "$(ls /sys/block/vda/mq | wc -l)" = 2 ] || fail "$(ls /sys/block/vda/mq | wc -l) queues"
host expect-queues 2

step 'two jobs write and verify; the back-end is stopped and started meanwhile'
fio --filename=$disk --size=24m --offset_increment=24m --numjobs=2 --name=verify --rw=randwrite \
  --bs=4k --direct=1 --ioengine=libaio --iodepth=16 --verify=crc32c --verify_fatal=1 --thread \
  --group_reporting >/tmp/fio 2>&1 &
fio=$!
sleep 1
kill -0 $fio || fail "fio ended early: $(tail -n 5 /tmp/fio)"
host restart
wait $fio || fail "fio: $(grep -E 'verify|error|err=' /tmp/fio | head -n 5)"
grep -q 'err= 0' /tmp/fio || fail 'fio reports an error'
grep -E 'WRITE:|READ:' /tmp/fio
host expect-queues 2
expect_no_kernel_errors
