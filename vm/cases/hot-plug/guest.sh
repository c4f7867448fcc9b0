step 'no disk yet'
[ ! -e $disk ] || fail 'a disk is there before it was plugged in'
host rounds
rounds=$answer
for n in $(seq "$rounds"); do
  step "plug it in: $n of $rounds"
  host plug
  wait_for_disk
  if [ "$n" -gt 1 ]; then
    dd if=$disk bs=1M skip=32 count=4 iflag=direct 2>/dev/null | cmp - /tmp/data ||
      fail 'what was written before the disk was pulled out is not there'
  fi
  dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null
  dd if=/tmp/data of=$disk bs=1M seek=32 oflag=direct 2>/dev/null
  fio_pass --size=4m --iodepth=32 || fail 'fio failed'
  expect_no_kernel_errors

  # The last time with requests in flight, whose errors in the guest are rightful.
  if [ "$n" = "$rounds" ]; then
    step 'pull it out under load'
    fio --name=load --filename=$disk --rw=randread --bs=4k --direct=1 --ioengine=libaio --thread \
      --iodepth=32 --time_based --runtime=60 >/dev/null 2>&1 &
    sleep 1
  fi
  host unplug
  wait_for_no_disk
done
