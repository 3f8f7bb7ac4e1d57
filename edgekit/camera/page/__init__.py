"""The live page of a camera pipeline: served to this machine alone, from files beside this one."""

from edgekit.camera.page.live import LivePage

__all__ = ["LivePage"]
