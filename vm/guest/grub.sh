# What GRUB does on a disk of vm/boot-disk.ts: it speaks to the host as the guest's script does, on
# the second serial port, and all it reads and writes goes through the firmware's driver.
serial --unit=1 --speed=115200
terminfo serial dumb
# UEFI takes some of what comes for its own console, which reads the same port.
terminal_input serial console
terminal_output serial
echo "@@step grub of $grub_platform reads through the firmware"
echo "@@host firmware"
read answer
if hashsum --hash sha256 --prefix / --check /sums; then data=whole; else data=broken; fi
source /token
written_by=grub-$grub_platform
save_env --file /grubenv written_by
linux /vmlinuz console=ttyS0 quiet panic=-1 boot.data=$data boot.token=$token
initrd /initrd
boot
