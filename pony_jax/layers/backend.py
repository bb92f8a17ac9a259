"""Our kernels of the layers, for a CPU.

XLA's CPU backend computes one layer after the other, through memory, and a convolution on one core.
Our kernels (`cpu/`) keep a block of points in the cache through all layers, and use all cores.
"""

from pony_jax.native.backend import Kernels, plain_xla, uses_kernels

__all__ = ["call", "plain_xla", "set_max_threads", "uses_kernels"]

_SYMBOLS = {
    "mlp": "LayersMlp",
    "mlp_grad": "LayersMlpGrad",
    "conv_block": "LayersConvBlock",
    "conv_block_grad": "LayersConvBlockGrad",
    "convolution": "LayersConvolution",
    "convolution_grad_x": "LayersConvolutionGradX",
    "convolution_grad_kernel": "LayersConvolutionGradKernel",
    "norm_dense": "LayersNormDense",
    "norm_dense_grad": "LayersNormDenseGrad",
}

_KERNELS = Kernels("liblayers_cpu.so", __package__, _SYMBOLS, "LayersSetMaxThreads")
call, set_max_threads = _KERNELS.call, _KERNELS.set_max_threads
