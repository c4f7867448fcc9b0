wait_for_disk
step 'four CPUs, four queues, a CPU each'
[ "$(nproc)" = 4 ] || fail "$(nproc) CPUs"
[ "$(cat /sys/block/vda/mq/*/cpu_list | sort | xargs)" = '0 1 2 3' ] ||
  fail "CPUs of the queues: $(cat /sys/block/vda/mq/*/cpu_list | xargs)"

step 'a job on each CPU writes and verifies'
fio_pass --size=8m --offset_increment=8m --numjobs=4 --iodepth=16 \
  --cpus_allowed=0-3 --cpus_allowed_policy=split || fail 'fio failed'
host every-queue-works
expect_no_kernel_errors
