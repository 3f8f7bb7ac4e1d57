"""Debian as it is: the root file system is edited directly, and boots as if set up by hand."""

from pathlib import Path

from edgekit.core.flash import ImageFacts
from edgekit.flash.provision.debian_root import edit_root
from edgekit.flash.provision.roots import root_systems
from edgekit.flash.provision.values import Provision


def apply(image: Path, facts: ImageFacts, what: Provision) -> tuple[str, ...]:
    """Edit every root of the image.

    Raises:
        FlashError: an edit is not possible or did not hold.
    """
    done: tuple[str, ...] = ()
    for root in root_systems(image, facts):
        done = edit_root(root, what)
    return done
