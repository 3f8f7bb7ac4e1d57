"""What may be handed to programs that read an image themselves."""

from pathlib import Path
from typing import Final

from edgekit.core.errors import FlashError

# rkdeveloptool unpacks it on the way, and what is read back is then not what was sent.
_ANDROID_SPARSE: Final = b"\x3a\xff\x26\xed"


def check_raw(image: Path) -> int:
    """Return an image's size, if it is the content of a whole disk as far as its head tells.

    Raises:
        FlashError: it cannot be read, is empty, or is an Android sparse image.
    """
    try:
        with image.open("rb") as stream:
            mark = stream.read(4)
        size = image.stat().st_size
    except OSError as error:
        raise FlashError(
            f"cannot read the image {image}: {error.strerror}", hint="name another file"
        ) from error
    if not size:
        raise FlashError(f"the image {image} is empty", hint="fetch it again")
    if mark == _ANDROID_SPARSE:
        raise FlashError(
            f"{image} is an Android sparse image, which is none of a whole disk",
            hint="simg2img turns it into a plain image",
        )
    return size
