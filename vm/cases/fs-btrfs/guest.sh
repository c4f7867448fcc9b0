. /file-systems.sh
modprobe btrfs
mkfs.btrfs -q -f $disk
mounts="-t btrfs $disk"
scrub() {
  check btrfs scrub start -B /mnt
  grep -q 'no errors found' /tmp/checked || fail 'the scrub found errors'
  check btrfs device stats -c /mnt
}
wear_out scrub

check btrfs check --readonly $disk
expect_files_back
