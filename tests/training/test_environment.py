"""Settings of the process."""

import subprocess
import sys

import pytest

_FAULTS_OF_REPEATED_STEPS = """
import resource
from pony_jax.training.environment import keep_freed_memory
assert keep_freed_memory()
import jax, jax.numpy as jnp
step = jax.jit(lambda x: jnp.sort(jnp.cos(x)[::-1] @ jnp.ones((512, 512)), axis=0).sum())
x = jnp.ones((20_000, 512))
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step(x).block_until_ready()
before = faults()
for _ in range(10):
    step(x).block_until_ready()
print((faults() - before) / 10)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_repeated_steps_reuse_their_memory() -> None:
    run = [sys.executable, "-c", _FAULTS_OF_REPEATED_STEPS]
    faults = float(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    # The step's 40 MB buffers are 10,000 pages each; returned ones would fault anew every time.
    assert faults < 500
