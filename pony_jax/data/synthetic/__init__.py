"""The synthetic quadruped. Imports go down this list:

`scene` (one photograph and its truth) <- `descriptors` (features, tokens), `coat`, `backdrop`
<- `animal` (one individual in a pose) <- `gait`, `template` (the mesh of a species) <- `surface`
(flesh to mesh), `proportions` (bones stretched and turned) <- `anatomy` (the numbers).
"""
