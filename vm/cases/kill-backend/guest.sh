wait_for_disk
step 'write and verify at depth 32; the back-end is killed three times meanwhile'
start_load --size=24m --iodepth=32
for n in 1 2 3; do
  host kill-and-restart
  sleep 1
done
finish_load
expect_no_kernel_errors
