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
from jaxtyping import Array, Bool, Int

from pony_jax.model import Stage

Params = dict[str, Any]
FlatParams = dict[str, Array]

# The moments of a group are two vectors of all its numbers, in the order of the parameters' names:
# a program with hundreds of small arrays spends milliseconds a step on handing them over.
_ADAM = optax.flatten(optax.scale_by_adam())


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
            r"instance/(handicap$|(out_encoder|viewpoint_head|light_head|texture_field|silhouette_head)/)",
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
    """Fresh moments of every group.

    Raises `ValueError` unless each parameter has one group.
    """
    return {name: _ADAM.init(members) for name, members in split_by_group(params, groups).items()}


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
        if not group.is_active(stage):
            continue
        updates, new_moments = _ADAM.update(_clipped(grads_of[name], group), moments[name])
        rate = group.learning_rate(step)
        for path, update in updates.items():
            # Selected, not multiplied by zero: what is not applied need not be finite.
            flat[path] = jnp.where(applied, flat[path] - rate * update, flat[path])
        moments[name] = jax.tree.map(
            lambda new, old: jnp.where(applied, new, old), new_moments, moments[name]
        )
    return unflatten_dict(flat, sep="/"), moments


def _clipped(grads: FlatParams, group: Group) -> FlatParams:
    """The gradients of a group, scaled down to its largest norm."""
    if not group.max_gradient_norm:
        return grads
    clip = optax.clip_by_global_norm(group.max_gradient_norm)
    clipped, _ = clip.update(grads, clip.init(grads))
    return clipped


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
        of_groups = [optax.tree.norm(members) for members in split_by_group(part, groups).values()]
        return optax.tree.norm(of_groups)

    return {f"gradient_norm_{name}": norm_of({name: tree}) for name, tree in grads.items()}


def num_parameters(params: Params) -> int:
    """How many numbers a tree of parameters holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
