"""Self-supervised image features, made offline; the only package that imports PyTorch.

`backbones` names the networks, `efficientnet` and `dino` wrap them, `projection` reduces what they
return by PCA, `extraction` turns photographs into the feature arrays of `pony_jax.data.schema`.
"""
