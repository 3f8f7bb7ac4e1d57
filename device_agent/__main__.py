"""Start of the packed agent. This file alone must also parse on Pythons that are too old."""

import sys

if sys.version_info < (3, 6):
    sys.stdout.write("\x00\x01edgekit\x01 fail old-python %d.%d\n" % sys.version_info[:2])
    sys.exit(97)

if __name__ == "__main__":
    from device_agent.server import main

    sys.exit(main(sys.argv[1:]))
