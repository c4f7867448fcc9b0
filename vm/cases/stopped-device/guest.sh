wait_for_disk
step 'the disk works after a restart before the guest began'
fio_pass --size=4m --iodepth=32 || fail 'fio failed'
host expect-queues 1

step 'stop the device and start it again'
rmmod virtio_blk
host expect-queues 0
insmod /modules/virtio_blk.ko
wait_for_disk
fio_pass --size=4m --iodepth=32 || fail 'fio failed'

# QEMU 7.2 comes back without a handshake, and from then on does not notice that a back-end ends.
host which-qemu
if [ "$answer" -ge 10 ]; then
  step 'restart the back-end while the device is stopped by the guest'
  rmmod virtio_blk
  host restart
  insmod /modules/virtio_blk.ko
  wait_for_disk
  fio_pass --size=4m --iodepth=32 || fail 'fio failed'

  step 'and under load'
  start_load --size=4m --iodepth=32
  host restart
  finish_load
fi
expect_no_kernel_errors
