"""Composites: coverage, antialiased samples, and what is behind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rasterizer_ffi
from pony_jax.model.render import background_image, composite, find_surface, render_silhouette


def test_a_silhouette_is_the_coverage_of_a_composite(model, prior):
    camera = model.camera.camera(jnp.eye(3)[None], jnp.array([[0.1, 0.0, 0.3]]))

    @jax.jit
    def both_ways(verts):
        sizes = {"image_size": 32, "samples": 2}
        visible = find_surface(verts, prior.verts, prior.faces, camera, max_pixels=1024, **sizes)
        covered = composite(visible, jnp.ones((1024, 1)), samples=2)
        return render_silhouette(verts, prior.faces, camera, **sizes), covered

    silhouette, covered = both_ways(prior.verts[None])
    assert 0.05 < float(silhouette.mean()) < 0.95
    # The same samples, antialiased by the same kernel.
    np.testing.assert_allclose(silhouette, covered, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("with_background", [False, True])
def test_a_composite_is_the_mean_of_antialiased_samples(model, prior, samples, with_background):
    translation = jnp.array([[0.1, 0.0, 0.3], [0, 0.2, 0]])
    camera = model.camera.camera(jnp.eye(3)[None].repeat(2, 0), translation)
    verts = jnp.stack([prior.verts, prior.verts * 1.1])
    values = jax.random.uniform(jax.random.key(0), (2048, 7))
    # Another colour in every pixel, so that none is taken for its neighbour.
    behind = jax.random.uniform(jax.random.key(1), (32, 32, 7)) if with_background else None
    wanted = jax.random.uniform(jax.random.key(2), (2, 32, 32, 7))

    def slow(visible, values):
        image = jnp.zeros((2 * 32 * 32, 7)).at[visible.surface.pixel].set(values, mode="drop")
        back = jnp.zeros((32, 32, 7)) if behind is None else behind

        def repeat(pixels):
            return jnp.repeat(jnp.repeat(pixels, samples, axis=1), samples, axis=2)

        covered = visible.coverage[..., 3:] > 0
        fine = jnp.where(covered, repeat(image.reshape(2, 32, 32, 7)), repeat(back[None]))
        fine = rasterizer_ffi.antialias(fine, visible.coverage, visible.verts_clip, visible.faces)
        return fine.reshape(2, 32, samples, 32, samples, 7).mean(axis=(2, 4))

    def fast(visible, values):
        return composite(visible, values, samples=samples, background=behind)

    def image_and_grads(mix):
        def loss(verts, values):
            sizes = {"image_size": 32, "samples": samples, "max_pixels": 2048}
            visible = find_surface(verts, prior.verts, prior.faces, camera, **sizes)
            image = mix(visible, values)
            return jnp.sum((image - wanted) ** 2), image

        (_, image), grads = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(verts, values)
        return image, grads

    image, grads = image_and_grads(fast)
    slow_image, slow_grads = image_and_grads(slow)
    assert 0.05 < float(jnp.mean(abs(grads[1]).sum(-1) > 0))  # pixels that show the animal
    # A few roundings of numbers near 1.
    np.testing.assert_allclose(image, slow_image, atol=1e-6)
    for grad, slow_grad in zip(grads, slow_grads, strict=True):
        assert float(abs(slow_grad).max()) > 0
        np.testing.assert_allclose(grad, slow_grad, atol=1e-5 * float(abs(slow_grad).max()))


@pytest.mark.parametrize("kind", ["black", "white", "checkerboard"])
def test_a_background_shows_where_the_animal_does_not(model, prior, kind):
    camera = model.camera.camera(jnp.eye(3)[None], jnp.array([[0.1, 0.0, 0.3]]))
    sizes = {"image_size": 32, "samples": 2}
    behind = background_image(kind, 32)
    values = jax.random.uniform(jax.random.key(0), (1024, 3))

    @jax.jit
    def run(verts):
        visible = find_surface(verts, prior.verts, prior.faces, camera, max_pixels=1024, **sizes)
        covered = composite(visible, jnp.ones((1024, 3)), samples=2)
        before = composite(visible, values, samples=2, background=jnp.asarray(behind))
        return covered, before, composite(visible, values, samples=2)

    covered, before, alone = run(prior.verts[None])
    edge = (covered > 0) & (covered < 1)
    assert 0 < edge.mean() < 0.3
    if kind == "checkerboard":
        # Antialiasing takes a neighbour's colour, so at the silhouette two cells may mix.
        np.testing.assert_allclose(behind[:9, ::8, 0], [[0.66, 0.33] * 2] * 8 + [[0.33, 0.66] * 2])
    else:
        edge = np.zeros_like(edge)
        assert np.all(behind == (kind == "white"))
    mixed = alone + (1 - covered) * behind
    np.testing.assert_allclose(np.where(edge, 0, before), np.where(edge, 0, mixed), atol=1e-6)


def test_an_unknown_background_is_refused():
    with pytest.raises(ValueError, match=r"background: expected one of .*, got 'grey'"):
        background_image("grey", 8)
