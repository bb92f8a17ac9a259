import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.modules.fields import SDFField


@pytest.mark.parametrize("start", ["ellipsoid", "sphere", "constant"])
@pytest.mark.parametrize("mirror", [False, True])
def test_gradient_of_the_sdf_is_that_of_its_values(start, mirror):
    field = SDFField(start, (1.0, 1.0, 2.0), 0.1, 16, 3, 4, 7.0, mirror)
    points = jax.random.normal(jax.random.key(0), (50, 3))
    points = points.at[3, 0].set(0.0).at[4].set(0.0)  # in the plane of the mirror; the origin
    params = field.init(jax.random.key(1), points)
    expected = jax.grad(lambda points: jnp.sum(field.apply(params, points)))(points)
    # The network's part and the start's are added up in another order.
    np.testing.assert_allclose(
        field.apply(params, points, method="gradient"), expected, rtol=1e-6, atol=1e-6
    )
