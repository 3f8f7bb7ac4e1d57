"""What vendors' programs say when they fail, in words that help."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.core.errors import FlashError
from edgekit.flash.vendor_program import Said


@dataclass(frozen=True)
class KnownFault:
    """A line that tells of a fault, what it means, and what to do."""

    pattern: str
    words: str
    hint: str


def fault_of(said: Said, faults: Sequence[KnownFault], what: str) -> FlashError:
    """Make the error for a program that failed: the first fault in the list that it told of.

    Args:
        said: how it ended.
        faults: known ones, the most telling first.
        what: what failed, as the beginning of a sentence.
    """
    for fault in faults:
        for line in said.lines:
            if re.search(fault.pattern, line):
                return FlashError(f"{what}: {fault.words} ({line})", hint=fault.hint)
    ended = f"killed by signal {-said.status}" if said.status < 0 else f"status {said.status}"
    last = f"; it said last:\n{said.last()}" if said.lines else ", and it said nothing"
    return FlashError(f"{what}: {ended}{last}", hint="flash the unit anew")
