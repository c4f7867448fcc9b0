wait_for_disk
host kills
kills=$answer
step "write and verify at depth 32; the back-end is killed $kills times meanwhile"
start_load --size=24m --iodepth=32
for n in $(seq "$kills"); do
  host kill-and-restart
  [ ! -e /tmp/fio.failed ] || break
done
finish_load
expect_no_kernel_errors
