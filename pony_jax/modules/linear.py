"""Dense layers with PyTorch's initialisation, which the original's learning rates expect."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Uniform in +-1/sqrt(fan_in): torch.nn.Linear and torch.nn.Conv2d.
torch_kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def torch_bias_init(fan_in: int) -> Callable[..., Array]:
    """Uniform in +-1/sqrt(fan_in)."""
    bound = fan_in**-0.5

    def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Linear(nn.Module):
    """`x @ kernel (+ bias)` with PyTorch's initialisation, or starting from zero."""

    features: int
    use_bias: bool = True
    zero_init: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "... i"]) -> Float[Array, "... o"]:
        return nn.Dense(
            self.features,
            use_bias=self.use_bias,
            kernel_init=nn.initializers.zeros if self.zero_init else torch_kernel_init,
            bias_init=nn.initializers.zeros if self.zero_init else torch_bias_init(x.shape[-1]),
            name="dense",
        )(x)


class PerTokenLinear(nn.Module):
    """A layer of its own for each token of a fixed number: `x[:, k] @ kernel[k] + bias[k]`."""

    features: int
    zero_init: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b k i"]) -> Float[Array, "b k o"]:
        k, fan_in = x.shape[1:]
        zeros = nn.initializers.zeros
        kernel_init = zeros if self.zero_init else torch_kernel_init
        bias_init = zeros if self.zero_init else torch_bias_init(fan_in)

        def kernels(key: Array, shape: tuple[int, ...]) -> Array:
            return jax.vmap(lambda token_key: kernel_init(token_key, shape[1:], jnp.float32))(
                jax.random.split(key, shape[0])
            )

        kernel = self.param("kernel", kernels, (k, fan_in, self.features))
        bias = self.param("bias", bias_init, (k, self.features))
        # Tokens first: on a CPU twice as fast as the same by einsum.
        return jnp.swapaxes(jnp.swapaxes(x, 0, 1) @ kernel, 0, 1) + bias


class MLP(nn.Module):
    """Linear layers without bias, ReLU between them, none at the end."""

    features: int
    hidden: int
    num_layers: int

    @nn.compact
    def __call__(self, x: Float[Array, "... i"]) -> Float[Array, "... o"]:
        for i in range(self.num_layers - 1):
            x = nn.relu(Linear(self.hidden, use_bias=False, name=f"layer_{i}")(x))
        return Linear(self.features, use_bias=False, name=f"layer_{self.num_layers - 1}")(x)
