. /file-systems.sh
modprobe dm-mod
# Nobody answers for udev here.
mkdir -p /etc/lvm
cat >/etc/lvm/lvm.conf <<END
devices { obtain_device_list_from_udev = 0 }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
END
lvm pvcreate -q $disk
lvm vgcreate -q group $disk
# In two pieces.
lvm lvcreate -q -y -n first -L 40M group
lvm lvcreate -q -y -n between -L 4M group
lvm lvextend -q -l +100%FREE group/first
mkfs.ext4 -q -F /dev/group/first
mounts='-t ext4 /dev/group/first'
wear_out

check e2fsck -f -n /dev/group/first
check lvm vgck group
check lvm pvck $disk
lvm vgchange -q -a n group
lvm vgchange -q -a y group
expect_files_back
