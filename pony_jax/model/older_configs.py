"""Configurations of earlier versions: the keys that they were written without."""

from ml_collections import ConfigDict


def complete_config(config: ConfigDict) -> ConfigDict:
    """Returns an unlocked copy with the keys that are missing, by what their absence meant.

    Refinement used the weights of the training losses, and bones were measured over a batch. What
    can not be told stays missing, for `build_model` to name.
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
    if "batch_statistics" not in complete.model:
        complete.model.batch_statistics = True
    return complete
