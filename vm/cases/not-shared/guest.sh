wait_for_disk
dd if=$disk of=/dev/null bs=4k count=1
