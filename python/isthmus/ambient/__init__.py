"""Counts that come from the soup of a droplet rather than from its cell: their profile, and the correction."""

from isthmus.ambient.exclusivity import marker_exclusivity
from isthmus.ambient.profile import ambient_profile
from isthmus.ambient.remove import remove_ambient
from isthmus.ambient.result import AmbientFit
from isthmus.ambient.sensitivity import sensitivity

__all__ = ["AmbientFit", "ambient_profile", "marker_exclusivity", "remove_ambient", "sensitivity"]
