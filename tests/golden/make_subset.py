"""Copies the golden arrays that a plain clone's tests run on into this folder.

    python tests/golden/make_subset.py ../shared/golden

The full set (31 MB) holds what the original computes, case by case, and stays outside the
repository. Tests of cases that are not listed here run where the full set is, and skip elsewhere.
The files are zip archives with LZMA, which `numpy.load` reads as well.
"""

import argparse
import lzma
import re
import shutil
import zipfile
from pathlib import Path

# Regular expressions of the arrays to keep, matched from the start of their names.
SUBSET = {
    "model_01_networks": ["harmonic_", "mlp_", "coord_", "encoder32/", "arti_"],
    "model_02_dmtet": ["gridown/", "marchown_", "zeros_own/", "eikonal/", r"sdf_[\w.]+_sym[01]/"],
    "model_03_skinning": [
        "shape/",
        "euler/",
        "bone_rot/",
        "segdist/",
        r"horse_z_minmax_(y\+_)?att[01]/",
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
    "model_05_vit": ["vit_none_nonsquare/", "posembed_"],
    "model_06_render": [
        "mesh/",
        "xfm/",
        "perspective/",
        "safe_normalize/",
        "shadenormal_",
        "light",
        "shade/",
        "shade_two",
        "scale/",
    ],
    "model_07_data": ["dt", "validmask", "boxtxt/", "ds/", "ds_single/", "ds_pair/"],
    "model_07_losses": ["rec_single/", "rec_nodino/", "rec_bgmode/", "fwd_mid/", "decay/"],
    "model_08_keypoints": [""],
    # The original's float64 values are no part of any test.
    "raster_*": [r"(?!.*_f64$)"],
    "tiny_checkpoint": [""],
}
# Scenes that are too large to commit (0.4 to 2.4 MB each).
LARGE = {
    "raster_cube",
    "raster_soup_behind",
    "raster_soup_degenerate_coincident",
    "raster_soup_offscreen",
    "raster_sphere",
    "raster_spot64",
    "raster_spot256",
    "raster_spot256_views",
}


def write_arrays(source: Path, target: Path, patterns: list[str]) -> None:
    """Copies the arrays whose names match one of the patterns."""
    with zipfile.ZipFile(source) as arrays, zipfile.ZipFile(target, "w", zipfile.ZIP_LZMA) as kept:
        for member in arrays.namelist():
            if any(re.match(pattern, member.removesuffix(".npy")) for pattern in patterns):
                # With a fixed date, so that the same arrays make the same file.
                entry = zipfile.ZipInfo(member)
                entry.compress_type = zipfile.ZIP_LZMA
                kept.writestr(entry, arrays.read(member))
        counts = f"{len(kept.namelist())} of {len(arrays.namelist())} arrays"
    print(f"{target.name}: {counts}, {target.stat().st_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of the full set")
    source = parser.parse_args().source
    folder = Path(__file__).parent
    for name, patterns in SUBSET.items():
        paths = sorted(source.glob(f"{name}.npz"))
        if not paths:
            raise SystemExit(f"{source}: expected {name}.npz of the full golden set, found none")
        for path in paths:
            if path.stem not in LARGE:
                write_arrays(path, folder / path.name, patterns)
    checkpoint = (source / "tiny_checkpoint.pth").read_bytes()
    (folder / "tiny_checkpoint.pth.xz").write_bytes(lzma.compress(checkpoint, preset=9))
    shutil.copyfile(source / "tiny_checkpoint_config.json", folder / "tiny_checkpoint_config.json")


if __name__ == "__main__":
    main()
