#!/bin/sh
# RAUC's GRUB backend forgets at the next start that a system was marked good. Noted in the system
# itself, so that the next update, which replaces it, begins unconfirmed.
slot=$(sed -n 's/.*rauc\.slot=\([AB]\).*/\1/p' /proc/cmdline)
told=$(grub-editenv /boot/efi/EFI/debian/grubenv list) || exit 0
case $told in *"${slot}_OK=1"*) ;; *) exit 0 ;; esac
case $told in *"${slot}_TRY=0"*) touch /var/lib/edgekit-confirmed && sync ;; esac
