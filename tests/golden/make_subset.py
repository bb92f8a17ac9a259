"""Copies the golden arrays that a plain clone's tests run on into this folder.

    python tests/golden/make_subset.py ../shared/golden

The full set (31 MB) holds what the original computes, case by case, and stays outside the
repository. Tests of cases that are not listed here run where the full set is, and skip elsewhere.
"""

import argparse
import re
from pathlib import Path

import numpy as np

# Regular expressions of the arrays to keep, matched from the start of their names.
SUBSET = {
    "model_01_networks": ["harmonic_", "mlp_", "coord_", "encoder32/", "arti_"],
    "model_02_dmtet": ["gridown/", "marchown_", "zeros_own/", "eikonal/", r"sdf_[\w.]+_sym[01]/"],
    "model_03_skinning": [
        "shape/",
        "euler/",
        "bone_rot/",
        "segdist/",
        r"horse_z_minmax_y\+_att1/",
        "horse_fixed_att1/",
        r"bird_y\+/",
    ],
    "model_04_predictor": [
        "lookat",
        "camera",
        "hyp_",
        "deform/",
        r"pose_\w+/(cfg|raw|out|orthant_signs)$",
    ],
    "model_05_vit": ["vit_none_nonsquare/", "posembed_odd/", "posembed_28to28/"],
    "model_06_render": [
        "mesh/",
        "xfm/",
        "perspective/",
        "safe_normalize/",
        "shadenormal_",
        "light",
        "shade/",
        "shade_two1_light1_tex1/",
        "scale/",
    ],
    "model_07_data": ["dt", "validmask", "boxtxt/", "ds/", r"ds_single/item[03]_"],
    "model_07_losses": ["rec_single/", "rec_nodino/", "fwd_mid/", "decay/"],
    "model_08_keypoints": [""],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of the full set")
    source = parser.parse_args().source
    for name, patterns in SUBSET.items():
        path = source / f"{name}.npz"
        if not path.exists():
            raise SystemExit(f"{path}: expected the full golden set there, found no such file")
        arrays = np.load(path)
        kept = {k: arrays[k] for k in arrays if any(re.match(p, k) for p in patterns)}
        target = Path(__file__).parent / path.name
        np.savez_compressed(target, **kept)
        print(f"{path.name}: {len(kept)} of {len(arrays)} arrays, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
