wait_for_disk
host which-boot
boot=$answer

if [ "$boot" = first ]; then
  step 'write and flush'
  dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null
  dd if=/tmp/data of=$disk bs=64k conv=fsync 2>/dev/null
  sum=$(sha256sum </tmp/data)
  host flushed "${sum%% *}"
else
  step 'what was flushed is there'
  host flushed-sum
  sum=$(dd if=$disk bs=64k count=64 iflag=direct 2>/dev/null | sha256sum)
  [ "${sum%% *}" = "$answer" ] || fail 'what was flushed before the reset is not there'

  step 'nothing that was on its way before the reset lands on what is written after it'
  fio_pass --offset=16m --size=8m --iodepth=32 || fail 'fio failed'
fi

if [ "$boot" != last ]; then
  # Ended by the reset, and so without an end of its own.
  fio --name=load --filename=$disk --offset=16m --size=8m --rw=randwrite --bs=4k --direct=1 \
    --ioengine=libaio --thread --iodepth=32 --time_based --runtime=300 >/dev/null 2>&1 &
  host next-reset
  if [ "$answer" = outside ]; then
    host reset-under-load
  else
    host load-runs
    reboot -f
  fi
  sleep 60
  fail 'the guest was not reset'
fi
expect_no_kernel_errors
