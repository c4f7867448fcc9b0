wait_for_disk
step 'make ext4 on a disk that cannot write parts of its superblock and journal'
# Like the host's copy of this command in case.ts, so that the journal lies where it says.
mkfs.ext4 -q -F -b 4096 -J size=4 -E lazy_itable_init=0,lazy_journal_init=0,nodiscard $disk

step 'write files'
mount -t ext4 $disk /mnt
for n in $(seq 40); do
  mkdir -p /mnt/dir$((n % 5))
  dd if=/dev/urandom of=/mnt/dir$((n % 5))/file$n bs=16k count=$n 2>/dev/null
done
(cd /mnt && find . -type f -name 'file*' -exec sha256sum {} +) >/tmp/sums
umount /mnt

step 'check the filesystem'
e2fsck -fn $disk

step 'read the files back'
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 $disk /mnt
(cd /mnt && sha256sum -c /tmp/sums) >/tmp/verdicts || fail "$(grep -v ': OK$' /tmp/verdicts)"
echo "$(wc -l </tmp/sums) files are as they were written"
umount /mnt
expect_no_kernel_errors
