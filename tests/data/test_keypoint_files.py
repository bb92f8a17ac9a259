"""Keypoints of people's own photographs: DeepLabCut's and BADJA's files."""

import json
from pathlib import Path

import pytest

from pony_jax.data import keypoint_files
from pony_jax.data.keypoints import KeypointsError
from pony_jax.data.photographs import FoundPhotographs, Photograph

_HEADER = "scorer,ada,ada,ada,ada\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"
_HEADER_3 = "scorer,,,ada,ada\nbodyparts,,,nose,nose\ncoords,,,x,y\n"


def _photographs(*names: str) -> FoundPhotographs:
    return FoundPhotographs(
        [Photograph(name, "test", Path(name), Path(name)) for name in names], ()
    )


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (_HEADER + "labeled-data/a/img1.png,1.5,2,,\n", ("nose", "tail")),
        (_HEADER_3 + "labeled-data,a,img1.png,1.5,2\n", ("nose",)),
    ],
)
def test_labels_of_deeplabcut_are_read(tmp_path: Path, text: str, names: tuple) -> None:
    file = tmp_path / "CollectedData_ada.csv"
    file.write_text(text)
    (parts, keypoints), *others = keypoint_files.read_keypoints(file).items()
    assert parts == ("labeled-data", "a", "img1") and not others
    assert (keypoints.names, keypoints.px[0]) == (names, (1.5, 2.0))
    assert keypoints.visible == (True, False)[: len(names)]


def test_badja_counts_rows_before_columns(tmp_path: Path) -> None:
    joints = [[i, 100 + i] for i in range(37)]
    visibility = [i != 8 for i in range(37)]
    picture = {"image_path": "DAVIS/horse/0.jpg", "joints": joints, "visibility": visibility}
    file = tmp_path / "horse.json"
    file.write_text(json.dumps([picture]))
    keypoints = keypoint_files.read_keypoints(file)["DAVIS", "horse", "0"]
    assert len(keypoints.names) == 20
    assert keypoints.names[0] == "upper_right_1" and not keypoints.visible[0]
    nose = keypoints.names.index("nose")
    assert keypoints.px[nose] == (133.0, 33.0) and keypoints.visible[nose]


def test_rows_find_their_photographs_by_the_end_of_the_path(tmp_path: Path) -> None:
    file = tmp_path / "k.csv"
    rows = (
        "labeled-data/a/1.png,1,2,3,4\nlabeled-data/b/1.png,5,6,7,8\nlabeled-data/b/9.png,1,1,1,1"
    )
    file.write_text(_HEADER + rows)
    found = keypoint_files.with_keypoints(_photographs("a/1", "b/1", "b/2"), file)
    assert [p.keypoints and p.keypoints.px[0] for p in found] == [(1, 2), (5, 6), None]
    assert [str(error) for error in found.errors] == [
        "labeled-data/b/9: expected a photograph for its keypoints, found none"
    ]
    with pytest.raises(
        KeypointsError, match=r"one row for 1 in .*, found 2, such as labeled-data/b"
    ):
        keypoint_files.with_keypoints(_photographs("1"), file)
    with pytest.raises(KeypointsError, match="found none of its 3, the first labeled-data/a/1"):
        keypoint_files.with_keypoints(_photographs("c/7"), file)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("k.txt", "", "a CSV file of DeepLabCut or a JSON file of BADJA, got .*k.txt"),
        ("k.csv", "a,b\n", "expected the rows scorer, bodyparts and coords"),
        ("k.csv", _HEADER.replace("x,y,x,y", "x,y,likelihood,x"), "a network's with likelihoods"),
        ("k.csv", _HEADER + "a.png,one,2,3,4\n", "found a damaged file .ValueError"),
        ("k.csv", "", "found a damaged file .ValueError"),
        ("k.json", "[{}]", "found a damaged file .KeyError"),
        ("k.json", "{", "found a damaged file .JSONDecodeError"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(KeypointsError, match=message):
        keypoint_files.read_keypoints(tmp_path / name)
