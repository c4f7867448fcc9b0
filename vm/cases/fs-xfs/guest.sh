. /file-systems.sh
modprobe xfs
mkfs.xfs -q -f $disk
mounts="-t xfs $disk"
wear_out

check xfs_repair -n $disk
expect_files_back
