"""Self-supervised image features.

`backbones` names the networks, `efficientnet` and `dino` wrap them (PyTorch's weights, read by
`weights`, without PyTorch), `projection` reduces what they return by PCA, `foreground` tells
animals from surroundings, `extraction` turns photographs into the feature arrays of
`pony_jax.data.schema`, and `token_reader` does the same for one crop in use.
"""
