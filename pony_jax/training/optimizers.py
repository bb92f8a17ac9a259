"""Two Adams, one for the category's prior and one for what is read off images, by groups.

A group of parameters whose stage has not begun is left alone: neither its values nor its moments
nor its count change, so its bias correction starts at its own first step (as PyTorch's Adam, which
skips parameters without a gradient).
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Bool, Float, Int

from pony_jax.layers import adam_update, joined, norm
from pony_jax.model import Stage

Params = dict[str, Any]
FlatParams = dict[str, Array]


class Group(NamedTuple):
    """Parameters that share an Adam.

    Attributes:
      pattern: regular expression that the beginning of their path matches.
      learning_rate: of this group, a function of the run's step.
      is_active: whether the group learns in a stage.
      max_gradient_norm: longer gradients of the group are scaled down to it; 0 scales none.
    """

    pattern: str
    learning_rate: optax.Schedule
    is_active: Callable[[Stage], bool]
    max_gradient_norm: float = 0.0


def parameter_groups(
    prior_learning_rate: float,
    instance_learning_rate: float,
    max_gradient_norm: float = 0.0,
    decay_from: float = 1.0,
    final_learning_rate: float = 1.0,
    num_steps: int = 1,
) -> dict[str, Group]:
    """The groups of `pony_jax.model.Pony`.

    Args:
      prior_learning_rate: of the category's fields.
      instance_learning_rate: of everything read off an image.
      max_gradient_norm: of each group; see `Group`.
      decay_from: share of the run after which both rates fall along a cosine.
      final_learning_rate: share of the rates that is left at the end; 1 keeps them.
      num_steps: length of the run.
    """

    def decayed(rate: float) -> optax.Schedule:
        first = min(round(decay_from * num_steps), num_steps - 1)
        falling = optax.cosine_decay_schedule(rate, num_steps - first, final_learning_rate)
        return lambda step: falling(jnp.maximum(step - first, 0))

    prior_rate, instance_rate = decayed(prior_learning_rate), decayed(instance_learning_rate)
    groups = {
        "prior": Group(r"prior/", prior_rate, lambda stage: True),
        "image": Group(
            r"instance/(out_encoder|viewpoint_head|light_head|texture_field|silhouette_head)/",
            instance_rate,
            lambda stage: True,
        ),
        "shape_feature": Group(
            r"instance/key_encoder/",
            instance_rate,
            lambda stage: stage.articulation or stage.deformation,
        ),
        "articulation": Group(
            r"instance/articulation_network/",
            instance_rate,
            lambda stage: stage.articulation,
        ),
        "deformation": Group(
            r"instance/deformation_field/", instance_rate, lambda stage: stage.deformation
        ),
    }
    return {
        name: group._replace(max_gradient_norm=max_gradient_norm) for name, group in groups.items()
    }


def init_optimizer(params: Params, groups: dict[str, Group]) -> dict[str, optax.OptState]:
    """Fresh moments of every group, for its joined parameters.

    Raises `ValueError` unless each parameter has one group.
    """
    return {
        name: optax.scale_by_adam().init(joined(members))
        for name, members in split_by_group(params, groups).items()
    }


def update_params(
    params: Params,
    grads: Params,
    moments: dict[str, optax.OptState],
    groups: dict[str, Group],
    stage: Stage,
    step: Int[Array, ""] | int,
    applied: Bool[Array, ""] | bool = True,
) -> tuple[Params, dict[str, optax.OptState]]:
    """One step of Adam for the groups that are active in `stage`, or what was if not `applied`.

    Args:
      step: the run's.
    """
    flat = dict(flatten_dict(params, sep="/"))
    moments = dict(moments)
    grads_of = split_by_group(grads, groups)
    for name, group in groups.items():
        if group.is_active(stage):
            grads = grads_of[name]
            values, moments[name] = adam_update(
                {path: flat[path] for path in grads},
                grads,
                moments[name],
                rate=group.learning_rate(step),
                grad_scale=_clipping(grads, group.max_gradient_norm),
                applied=applied,
            )
            flat |= values
    return unflatten_dict(flat, sep="/"), moments


def _clipping(grads: FlatParams, max_norm: float) -> Float[Array, ""] | float:
    """What is left of gradients after they are scaled down to a norm."""
    return max_norm / jnp.maximum(norm(grads.values()), max_norm) if max_norm else 1.0


def split_by_group(tree: Params, groups: dict[str, Group]) -> dict[str, FlatParams]:
    """The leaves of a tree of parameters by group and path.

    Raises `ValueError` for a parameter that no group or more than one matches.
    """
    members: dict[str, FlatParams] = {name: {} for name in groups}
    for path, leaf in flatten_dict(tree, sep="/").items():
        matching = [name for name, group in groups.items() if re.match(group.pattern, path)]
        if len(matching) != 1:
            raise ValueError(
                f"parameter {path}: expected exactly one group, got {matching or 'none'}; add its "
                "pattern to parameter_groups in pony_jax/training/optimizers.py"
            )
        members[matching[0]][path] = leaf
    return members


def gradient_norms(grads: Params, groups: dict[str, Group]) -> dict[str, Array]:
    """Euclidean norm of the gradients of the prior and of the instance.

    From the norms of their groups, which `update_params` needs as well: a program finds them once.
    """

    def norm_of(part: Params) -> Array:
        return norm(
            norm(members.values()) for members in split_by_group(part, groups).values() if members
        )

    return {f"gradient_norm_{name}": norm_of({name: tree}) for name, tree in grads.items()}


def num_parameters(params: Params) -> int:
    """How many numbers a tree of parameters holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
