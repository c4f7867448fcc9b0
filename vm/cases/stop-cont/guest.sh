wait_for_disk
host stops
stops=$answer
step "two jobs write and verify; the machine is stopped $stops times meanwhile"
start_load --size=8m --offset_increment=8m --numjobs=2 --iodepth=16
for n in $(seq "$stops"); do
  host stop-and-cont
  [ ! -e /tmp/fio.failed ] || break
done
finish_load
expect_no_kernel_errors
