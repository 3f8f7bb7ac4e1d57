"""Virtual boards: a root file system, a face plate, an emulator, an sshd on loopback."""
