"""What the original has no counterpart of: the silhouette head, layers of a token's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.modules.heads import SilhouetteHead, _dropout
from pony_jax.modules.linear import Linear, PerTokenLinear


def _inputs(tokens: int = 8, side: int = 4) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    token_map = rng.normal(size=(2, tokens, tokens, 6)).astype(np.float32)
    image = rng.uniform(size=(2, tokens * side, tokens * side, 3)).astype(np.float32)
    return jnp.asarray(token_map), jnp.asarray(image)


def _shift(maps: jax.Array, pixels: int) -> jax.Array:
    return jnp.roll(maps, (pixels, 2 * pixels), axis=(1, 2))


def test_silhouettes_move_with_the_image():
    # A shift by whole tokens shifts the silhouette, but for a rim that sees the border: three
    # layers of 3x3 cells see 6 pixels around, so up to two tokens, and two of 3x3 tokens two more.
    tokens, image = _inputs(tokens=16)
    head = SilhouetteHead(8)
    params = head.init(jax.random.key(0), tokens, image)
    here = head.apply(params, tokens, image)
    there = head.apply(params, _shift(tokens, 1), _shift(image, 4))
    inner = slice(4 * 6, 4 * 12)
    # Sums of some ten to hundred terms in float32, in another order of vector lanes.
    np.testing.assert_allclose(_shift(here, 4)[:, inner, inner], there[:, inner, inner], atol=1e-5)


def test_a_pixel_is_judged_by_its_surroundings():
    tokens, image = _inputs()
    head = SilhouetteHead(8)
    params = head.init(jax.random.key(0), tokens, image)
    gradient = jax.grad(lambda image: head.apply(params, tokens, image)[0, 0, 0, 0])(image)
    seen = np.abs(np.asarray(gradient[0])).sum(axis=-1) > 0
    # From the corner: 6 pixels on are in the next token, and two tokens on ends at 16.
    assert seen[:4, :4].all()
    assert not seen[16:, :].any() and not seen[:, 16:].any()


def test_dropout_is_for_training_only():
    tokens, image = _inputs()
    head = SilhouetteHead(8)
    params = head.init(jax.random.key(0), tokens, image)
    first, second = (head.apply(params, tokens, image, jax.random.key(i)) for i in (1, 2))
    plain = head.apply(params, tokens, image)
    for dropped in (first, second):
        assert not np.array_equal(dropped, plain)
    assert not np.array_equal(first, second)


def test_dropout_takes_keys_of_any_implementation():
    tokens, image = _inputs()
    head = SilhouetteHead(8)
    params = head.init(jax.random.key(0), tokens, image)
    logits = head.apply(params, tokens, image, jax.random.key(0, impl="rbg"))
    assert np.isfinite(logits).all()


def test_dropout_takes_a_fifth_at_random_and_keeps_the_mean():
    x = jnp.ones((100, 50, 41))
    first, second = (np.asarray(_dropout(x, jax.random.key(i))) for i in (1, 2))
    assert len(np.unique(first)) == 2
    # Four standard deviations of 205,000 draws: 51/256, its square where two are independent.
    share = 51 / 256
    assert abs((first == 0).mean() - share) < 4 * (share * (1 - share) / x.size) ** 0.5
    assert abs(first.mean() - 1) < 0.005
    for both in ((first == 0) & (second == 0), (first[..., 1:] == 0) & (first[..., :-1] == 0)):
        assert abs(both.mean() - share**2) < 0.0018


@pytest.mark.parametrize("size", [30, 24])
def test_an_image_that_tokens_do_not_divide_evenly_is_refused(size):
    tokens, image = _inputs()
    with pytest.raises(ValueError, match=f"even multiple of the 8 tokens along it, got {size} px"):
        SilhouetteHead(8).init(jax.random.key(0), tokens, image[:, :size, :size])


def test_per_token_layers_equal_a_layer_for_each():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32))
    layer = PerTokenLinear(7)
    params = layer.init(jax.random.key(0), x)
    kernel, bias = params["params"]["kernel"], params["params"]["bias"]
    out = layer.apply(params, x)
    for k in range(4):
        own = {"params": {"dense": {"kernel": kernel[k], "bias": bias[k]}}}
        # The same sums of five terms.
        np.testing.assert_allclose(out[:, k], Linear(7).apply(own, x[:, k]), atol=1e-6)
    # Uniform in +-1/sqrt(5), like one layer: the number of tokens does not count as inputs.
    assert 0.9 * 5**-0.5 < np.abs(kernel).max() <= 5**-0.5


def test_per_token_layers_can_start_at_zero():
    layer = PerTokenLinear(3, zero_init=True)
    out, _ = layer.init_with_output(jax.random.key(0), jnp.ones((2, 4, 5)))
    np.testing.assert_array_equal(out, 0.0)
