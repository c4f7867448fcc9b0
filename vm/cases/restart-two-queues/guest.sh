wait_for_disk
step 'two CPUs, two queues'
[ "$(nproc)" = 2 ] || fail "$(nproc) CPU"
[ "$(ls /sys/block/vda/mq | wc -l)" = 2 ] || fail "$(ls /sys/block/vda/mq | wc -l) queues"
host expect-queues 2

step 'two jobs write and verify; the back-end is stopped and started meanwhile'
start_load --size=16m --offset_increment=16m --numjobs=2 --iodepth=16
host restart
finish_load
host expect-queues 2
expect_no_kernel_errors
