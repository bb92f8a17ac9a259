"""Motion for a rigged animal: gaits made for it, poses and clips of others brought to it.

`walk`, `trot`, `gallop`, `graze` and `idle` make clips for the proportions of one skeleton,
`make_clips` those of them that an animal can make. `retarget_file` takes a clip over from a BVH or
an animated glTF file, `read_arti_params` the poses that come with the original. `measure_contacts`
says whether hooves slide or sink.
"""

from pony_jax.reconstruction.motion.arti_params import read_arti_params
from pony_jax.reconstruction.motion.bvh import read_bvh
from pony_jax.reconstruction.motion.contacts import (
    Contacts,
    ground_speed,
    measure_contacts,
    travelling,
)
from pony_jax.reconstruction.motion.gaits import GAITS, gallop, graze, idle, make_clips, trot, walk
from pony_jax.reconstruction.motion.gltf import read_gltf_motion
from pony_jax.reconstruction.motion.joint_table import JointTable, load_joint_table
from pony_jax.reconstruction.motion.limits import joint_limits_rad
from pony_jax.reconstruction.motion.retarget import retarget, retarget_file
from pony_jax.reconstruction.motion.source import MotionFileError, SourceMotion

__all__ = [
    "GAITS",
    "Contacts",
    "JointTable",
    "MotionFileError",
    "SourceMotion",
    "gallop",
    "graze",
    "ground_speed",
    "idle",
    "joint_limits_rad",
    "load_joint_table",
    "make_clips",
    "measure_contacts",
    "read_arti_params",
    "read_bvh",
    "read_gltf_motion",
    "retarget",
    "retarget_file",
    "travelling",
    "trot",
    "walk",
]
