"""Names and layouts: parameters of the original, in PyTorch, as parameters of this model.

The original's `state_dict` names a parameter by the path of its module. Here every module of the
original has one function from the rest of that name to the path of the Flax parameter.
"""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

State = Mapping[str, np.ndarray]
PathOf = Callable[[str], str | None]
"""Path of the Flax parameter less its last part for a name, None where the name is unknown."""


def coordinate_mlp(name: str, conditioned: bool = False) -> str | None:
    """CoordMLP. Its first inner layer, if it also reads a vector, has no module of its own here."""
    match name.split("."):
        case ["in_layer", "weight" | "bias"]:
            return "input/dense"
        case ["mlp", "network", index, "weight"] if _is_even(index):
            layer = int(index) // 2 - conditioned
            return "conditioned" if layer < 0 else f"mlp/layer_{layer}/dense"
    return None


def mlp(name: str) -> str | None:
    """MLP: linear layers without bias at the even places, activations between."""
    match name.split("."):
        case ["network", index, "weight"] if _is_even(index):
            return f"layer_{int(index) // 2}/dense"
    return None


def token_encoder(name: str) -> str | None:
    """Encoder32: convolution, normalisation, activation, in turn."""
    match name.split("."):
        case ["network", index, "weight" | "bias"] if index.isdigit() and int(index) % 3 < 2:
            return f"{('conv', 'norm')[int(index) % 3]}_{int(index) // 3}"
    return None


def _is_even(index: str) -> bool:
    """Whether a layer with parameters may stand there; activations have the odd places."""
    return index.isdigit() and int(index) % 2 == 0


def articulation_network(name: str) -> str | None:
    """ArticulationNetwork of kinds attention and mlp."""
    if inner_mlp := mlp(name.removeprefix("network.")):
        return f"mlp/{inner_mlp}"
    top = {"in_layer.0": "input/dense", "in_layer.2": "input_norm", "out_layer.0": "output/dense"}
    inner = {
        "norm1": "norm_attention",
        "attn.qkv": "qkv/dense",
        "attn.proj": "projection/dense",
        "norm2": "norm_mlp",
        "mlp.fc1": "mlp_in/dense",
        "mlp.fc2": "mlp_out/dense",
    }
    return _of_transformer(name, top, inner)


def vit(name: str) -> str | None:
    """VisionTransformer of DINO and of timm, but for its tokens and positions."""
    top = {"patch_embed.proj": "patches", "norm": "norm"}
    inner = {
        "norm1": "norm_attention",
        "attn.qkv": "qkv",
        "attn.proj": "projection",
        "norm2": "norm_mlp",
        "mlp.fc1": "mlp_in",
        "mlp.fc2": "mlp_out",
    }
    return _of_transformer(name, top, inner)


def _of_transformer(name: str, top: dict[str, str], inner: dict[str, str]) -> str | None:
    module, _, leaf = name.rpartition(".")
    if leaf not in ("weight", "bias"):
        return None
    if match := re.fullmatch(r"blocks\.(\d+)\.(.+)", module):
        block, part = match.groups()
        return f"block_{block}/{inner[part]}" if part in inner else None
    return top.get(module)


def parameter(name: str, value: np.ndarray, path_of: PathOf) -> tuple[str, np.ndarray]:
    """Path and value in Flax's layout of one parameter of a module.

    Raises:
      KeyError: for a name that the module does not have.
    """
    path = path_of(name)
    if path is None:
        raise KeyError(name)
    if value.ndim == 4:  # convolution: out, in, height, width
        value, leaf = value.transpose(2, 3, 1, 0), "kernel"
    elif value.ndim == 2:  # linear: out, in
        value, leaf = value.T, "kernel"
    else:
        leaf = "bias" if name.endswith("bias") else "scale"
    return (path if path == "conditioned" else f"{path}/{leaf}"), np.ascontiguousarray(value)


def module_params(state: State, path_of: PathOf) -> dict[str, Any]:
    """Parameters of one Flax module from all of one module of the original.

    Raises:
      KeyError: for a name that the module does not have.
    """
    return unflatten_dict(
        dict(parameter(name, value, path_of) for name, value in state.items()), sep="/"
    )


def vit_params(state: State) -> dict[str, Any]:
    """Parameters of `modules.vit.ViT` from the weights of DINO or of timm.

    Raises:
      KeyError: for a name that the transformer does not have, or lacks.
    """
    rest = dict(state)
    class_token, positions = rest.pop("cls_token"), rest.pop("pos_embed")
    num_patches, width = positions.shape[1] - 1, positions.shape[2]
    side = round(num_patches**0.5)
    return module_params(rest, vit) | {
        "class_token": class_token[0, 0],
        "class_position": positions[0, 0],
        "positions": positions[0, 1:].reshape(side, side, width),
    }


# Path of each module of the original in `Pony.init`'s parameters, and the names inside it.
MODULES: dict[str, tuple[str, PathOf]] = {
    "netShape.mlp.": ("prior/sdf/network", coordinate_mlp),
    "netDINO.": ("prior/feature/network", coordinate_mlp),
    "netEncoder.final_layer_patch_key.": ("instance/key_encoder", token_encoder),
    "netEncoder.final_layer_patch_out.": ("instance/out_encoder", token_encoder),
    "netPose.": ("instance/viewpoint_head", token_encoder),
    "netTexture.": (
        "instance/texture_field/network",
        functools.partial(coordinate_mlp, conditioned=True),
    ),
    "netDeform.": (
        "instance/deformation_field/network",
        functools.partial(coordinate_mlp, conditioned=True),
    ),
    "netArticulation.": ("instance/articulation_network", articulation_network),
    "netLight.mlp.": ("instance/light_head/mlp", mlp),
}


def _inner_names() -> Iterator[str]:
    """Names inside the modules of the original, of networks of any depth that occurs."""
    for number in range(64):
        yield from (f"mlp.network.{number}.weight", f"network.network.{number}.weight")
        for leaf in ("weight", "bias"):
            yield f"network.{number}.{leaf}"
            for layer in ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
                yield f"blocks.{number}.{layer}.{leaf}"
    for layer in (
        "in_layer",
        "in_layer.0",
        "in_layer.2",
        "out_layer.0",
        "patch_embed.proj",
        "norm",
    ):
        yield from (f"{layer}.weight", f"{layer}.bias")


@functools.cache
def original_names() -> dict[str, str]:
    """Name in the original of every parameter that a model can have, by path, to speak of it.

    Paths are those of `MODULES`, and of `modules.vit.ViT` behind 'backbone/'.
    """
    names = {}
    for prefix, (module, path_of) in {**MODULES, "netEncoder.ViT.": ("backbone", vit)}.items():
        for inner in _inner_names():
            if path := path_of(inner):
                for leaf in ("bias",) if inner.endswith("bias") else ("kernel", "scale"):
                    names[f"{module}/{path}/{leaf}"] = prefix + inner
                names.setdefault(f"{module}/{path}", prefix + inner)
    return names
