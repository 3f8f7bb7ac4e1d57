"""Which Python and which C library an image brings."""

import pytest
from disk_images import EFI, LINUX, ext4, fat, gpt_image, root_files

from edgekit.core.errors import FlashError
from edgekit.core.flash import ImageSoftware
from edgekit.flash.inspect import inspect
from edgekit.flash.software import software_of

STATUS = """\
Package: python3
Status: install ok installed
Version: 3.11.2-1+b1
Description: interactive high-level object-oriented language
 Version: 9.9 is no field of this package

Package: libc6
Status: install ok installed
Architecture: arm64
Version: 2.36-9+deb12u14

Package: python3.9
Status: deinstall ok config-files
Version: 3.9.2-1
"""


@pytest.fixture
def image_of(tmp_path):
    """Make an image whose second partition is a root filesystem with these files more."""

    def make(more):
        boot = fat(tmp_path, {"config.txt": "x"})
        root = ext4(tmp_path, {**root_files(), **more})
        image = tmp_path / "some.img"
        image.write_bytes(gpt_image((EFI, "boot", boot), (LINUX, "root", root)))
        return image

    return make


def test_versions_are_those_of_the_package_database(image_of):
    image = image_of({"var/lib/dpkg/status": STATUS})
    assert software_of(image, inspect(image)) == ImageSoftware("3.11", "2.36")


def test_package_that_was_removed_does_not_count(image_of):
    gone = STATUS.replace("install ok installed", "deinstall ok config-files", 1)
    image = image_of({"var/lib/dpkg/status": gone})
    with pytest.raises(FlashError, match="no version of python3,"):
        software_of(image, inspect(image))


def test_image_without_a_database_is_told(image_of):
    image = image_of({})
    with pytest.raises(FlashError, match="no version of python3 and libc6") as caught:
        software_of(image, inspect(image))
    assert "edgekit deploy" in caught.value.hint
