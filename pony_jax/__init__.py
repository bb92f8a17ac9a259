"""MagicPony in JAX: from one photograph of an animal to its shape, pose, texture and light."""

import os

if os.environ.get("PONY_JAX_KERNELS") != "0":
    from pony_jax import kernels

    kernels.register_all()  # compiled substitutes for a CPU; nothing else imports them
