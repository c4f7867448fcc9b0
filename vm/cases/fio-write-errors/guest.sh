wait_for_disk
step 'write and verify; 500 sectors go bad meanwhile'
start_load --size=32m --iodepth=16
host break-sectors
finish_load

step 'one pass that meets every bad sector'
fio_pass --size=32m --iodepth=16 || fail 'fio failed'
expect_no_kernel_errors
