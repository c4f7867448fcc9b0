wait_for_disk
step 'write and verify while the guest moves from QEMU to QEMU'
host migrations >/tmp/migrations
start_load --size=24m --iodepth=16
for n in $(seq "$(cat /tmp/migrations)"); do
  host migrate
  sleep 1
done
finish_load
expect_no_kernel_errors
