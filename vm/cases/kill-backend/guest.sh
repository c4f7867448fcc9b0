wait_for_disk
step 'write and verify at depth 32; the back-end is killed three times meanwhile'
fio --name=verify --filename=$disk --size=32m --rw=randwrite --bs=4k --loops=2 --direct=1 \
  --ioengine=libaio --iodepth=32 --verify=crc32c --verify_fatal=1 --thread >/tmp/fio 2>&1 &
fio=$!
for n in 1 2 3; do
  sleep 1
  kill -0 $fio || fail "fio ended early: $(tail -n 5 /tmp/fio)"
  host kill-and-restart
done
kill -0 $fio || fail "fio ended early: $(tail -n 5 /tmp/fio)"
wait $fio || fail "fio: $(grep -E 'verify|error|err=' /tmp/fio | head -n 5)"
grep -q 'err= 0' /tmp/fio || fail 'fio reports an error'
grep -E 'WRITE:|READ:' /tmp/fio
expect_no_kernel_errors
