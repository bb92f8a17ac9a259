"""Motion for a rigged animal: gaits made for it, poses and clips of others brought to it.

`walk`, `trot`, `gallop`, `graze` and `idle` make clips for the proportions of one skeleton;
`measure_contacts` says whether hooves slide or sink.
"""

from pony_jax.reconstruction.motion.contacts import Contacts, measure_contacts
from pony_jax.reconstruction.motion.gaits import GAITS, gallop, graze, idle, trot, walk
from pony_jax.reconstruction.motion.limits import joint_limits_rad

__all__ = [
    "GAITS",
    "Contacts",
    "gallop",
    "graze",
    "idle",
    "joint_limits_rad",
    "measure_contacts",
    "trot",
    "walk",
]
