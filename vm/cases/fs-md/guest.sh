. /file-systems.sh
modprobe raid1
modprobe brd rd_nr=1 rd_size=131072
export MDADM_NO_UDEV=1
# Both are zeros: nothing is to be copied.
mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --bitmap=none --metadata=1.2 \
  --assume-clean $disk /dev/ram0
mkfs.ext4 -q -F /dev/md0
mounts='-t ext4 /dev/md0'
wear_out

check e2fsck -f -n /dev/md0
step 'the mirror is whole, and both sides are the same'
grep -q '\[UU\]' /proc/mdstat || fail "$(cat /proc/mdstat)"
echo check >/sys/block/md0/md/sync_action
while [ "$(cat /sys/block/md0/md/sync_action)" != idle ]; do sleep 1; done
mismatches=$(cat /sys/block/md0/md/mismatch_cnt)
[ "$mismatches" = 0 ] || fail "$mismatches sectors differ"
expect_no_file_system_errors

step 'the side on the failing disk has everything, alone'
mdadm /dev/md0 --fail /dev/ram0 --remove /dev/ram0
dmesg -c >/dev/null
expect_files_back
