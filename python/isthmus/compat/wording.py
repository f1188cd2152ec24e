"""A sentence that the ports share."""

from __future__ import annotations

from isthmus.messages import tell


def no_effect(argument: str, reason: str) -> None:
    """Tell that an option which the old package had does nothing here, and why."""
    tell(f"`{argument}` has no effect: {reason}.")
