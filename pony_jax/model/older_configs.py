"""Configurations of earlier versions: the keys that they were written without."""

from ml_collections import ConfigDict

_ABSENT = {
    "loss": {"hypothesis_balance": 0.0},
    "schedule": {"elevation_from": 0.0},
    "model": {"batch_statistics": True, "elevation_deg": (0.0, 0.0), "march": "auto"},
}
"""What it means that a key is absent, by group."""


def complete_config(config: ConfigDict) -> ConfigDict:
    """Returns an unlocked copy with the keys that are missing, by what their absence meant.

    Refinement used the weights of the training losses, bones were measured over a batch, cameras
    were level, and nothing kept hypotheses in equal use. What can not be told stays missing, for
    `build_model` to name.
    """
    complete = config.copy_and_resolve_references()
    complete.unlock()
    meanings = {
        "refine_mask": ("loss", "mask"),
        "refine_mask_pyramid": ("loss", "mask_pyramid"),
        "refine_articulation": ("loss", "articulation"),
    }
    if "model" not in complete:
        return complete
    for key, (group, other) in meanings.items():
        if key not in complete.model and other in complete.get(group, {}):
            complete.model[key] = complete[group][other]
    for group, keys in _ABSENT.items():
        for key, value in keys.items():
            if group in complete and key not in complete[group]:
                complete[group][key] = value
    return complete
