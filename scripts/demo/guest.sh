# write_files NAME: eight files of 2 MiB, their checksums kept in the guest's memory.
write_files() {
  mkdir -p "/mnt/$1"
  for n in 1 2 3 4 5 6 7 8; do
    dd if=/dev/urandom of="/mnt/$1/file$n" bs=1M count=2 2>/dev/null
  done
  sync
  (cd /mnt && sha256sum "$1"/*) >>/tmp/sums
  echo "8 files of 2 MiB in $1/"
}

wait_for_disk
step 'makes ext4 on the disk and writes files'
mkfs.ext4 -q -F -b 4096 -E lazy_itable_init=0,lazy_journal_init=0,nodiscard $disk
mount -t ext4 $disk /mnt
write_files before

host break-sectors
step 'writes more files, on the bad sectors too'
write_files during

host restart
step 'writes yet more files'
write_files after

step 'checks the filesystem'
umount /mnt
e2fsck -fn $disk

step 'reads every file from the disk and compares its checksum'
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 $disk /mnt
(cd /mnt && sha256sum -c /tmp/sums)
umount /mnt
expect_no_kernel_errors
