"""Pictures of any rigged, animated glTF, with the truth about them. Imports go down this list:

`scene` (pictures of one model) <- `coat` (colours), `individual` (proportions and poses)
<- `template` (what all individuals share) <- `body_parts` (what names of joints say), `poses`
(what the clips say) <- `model` (surface and skeleton as the file has them).
`pony_jax.data.rendered_folder` writes them as files.
"""
