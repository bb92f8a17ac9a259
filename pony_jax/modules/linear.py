"""Dense layers with PyTorch's initialisation, which the original's learning rates expect."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pony_jax.ops.convolution import convolution

# Uniform in +-1/sqrt(fan_in): torch.nn.Linear and torch.nn.Conv2d.
torch_kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def torch_bias_init(fan_in: int) -> Callable[..., Array]:
    """Uniform in +-1/sqrt(fan_in)."""
    bound = fan_in**-0.5

    def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Weights(nn.Module):
    """Arrays for those who compute with them themselves.

    Attributes:
      arrays: name, initialiser and shape of each, in the order in which they are handed over.
    """

    arrays: tuple[tuple[str, Callable[..., Array], tuple[int, ...]], ...]

    @nn.compact
    def __call__(self) -> tuple[Array, ...]:
        return tuple(self.param(*array) for array in self.arrays)


class Linear(nn.Module):
    """`x @ kernel (+ bias)` with PyTorch's initialisation, or starting from zero."""

    features: int
    use_bias: bool = True
    zero_init: bool = False

    def __call__(self, x: Float[Array, "... i"]) -> Float[Array, "... o"]:
        kernel, *bias = self.weights(x.shape[-1])
        return x @ kernel + bias[0] if bias else x @ kernel

    @nn.compact
    def weights(self, fan_in: int) -> tuple[Array, ...]:
        """The kernel `[i, o]` and, if there is one, the bias `[o]`."""
        zeros = nn.initializers.zeros
        kernel = "kernel", zeros if self.zero_init else torch_kernel_init, (fan_in, self.features)
        bias = "bias", zeros if self.zero_init else torch_bias_init(fan_in), (self.features,)
        return Weights((kernel, bias) if self.use_bias else (kernel,), name="dense")()


class Conv(nn.Module):
    """A convolution without bias, with PyTorch's initialisation.

    Attributes:
      taps: along each side of the kernel.
      stride, padding: along both axes; padding with zeros at every side.
    """

    features: int
    taps: int
    stride: int = 1
    padding: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b oh ow o"]:
        shape = (self.taps, self.taps, x.shape[-1], self.features)
        kernel = self.param("kernel", torch_kernel_init, shape)
        return convolution(x, kernel, stride=self.stride, padding=self.padding)


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
        # Tokens first: on a CPU twice as fast as the same product by einsum.
        return jnp.swapaxes(jnp.swapaxes(x, 0, 1) @ kernel, 0, 1) + bias


class MLP(nn.Module):
    """Linear layers without bias, ReLU between them, none at the end."""

    features: int
    hidden: int
    num_layers: int

    def __call__(self, x: Float[Array, "... i"]) -> Float[Array, "... o"]:
        *kernels, last = self.kernels(x.shape[-1])
        for kernel in kernels:
            x = nn.relu(x @ kernel)
        return x @ last

    @nn.compact
    def kernels(self, fan_in: int) -> list[Float[Array, "i o"]]:
        """Of all layers, in order."""
        widths = [fan_in] + [self.hidden] * (self.num_layers - 1)
        outputs = [*widths[1:], self.features]
        layers = [Linear(n, use_bias=False, name=f"layer_{i}") for i, n in enumerate(outputs)]
        return [layer.weights(n)[0] for layer, n in zip(layers, widths, strict=True)]
