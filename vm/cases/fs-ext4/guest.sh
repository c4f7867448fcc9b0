. /file-systems.sh
mkfs.ext4 -q -F $disk
mounts="-t ext4 $disk"
wear_out

check e2fsck -f -n $disk
expect_files_back
