"""The KITTI folder loader on a small fabricated data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffrender.datasets import KittiCalibration, KittiObject
from diffrender.datasets.kitti import load_velodyne, project_velodyne
from diffrender.errors import InputError

HEIGHT, WIDTH = 40, 100
CALIBRATION = """P0: 50 0 50 0 0 50 20 0 0 0 1 0
P2: 50 0 50 5 0 50 20 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0
"""
LABELS = """Car 0.00 0 0 20 10 39 29 1.5 1.6 4 -1 1.5 10 0
DontCare -1 -1 -10 80 5 90 10 -1 -1 -1 -1000 -1000 -1000 -10
Van 0.00 0 0 50 10 60 20 2 2 5 2 1.5 15 0
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with two training frames, one testing frame and split lists."""
    for split, names in (("training", ("000000", "000003")), ("testing", ("000000",))):
        for folder in ("image_2", "calib", "velodyne", "instance_2"):
            (tmp_path / split / folder).mkdir(parents=True)
        for name in names:
            image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            image[..., 0] = 200  # red, to catch swapped channels
            Image.fromarray(image).save(tmp_path / split / "image_2" / f"{name}.png")
            (tmp_path / split / "calib" / f"{name}.txt").write_text(CALIBRATION)
            points = np.array([[10, 1, 0, 0.5], [20, 2.05, 0, 0.5]], "<f4")
            points.tofile(tmp_path / split / "velodyne" / f"{name}.bin")
    (tmp_path / "training" / "label_2").mkdir()
    ids = np.zeros((HEIGHT, WIDTH), np.uint16)
    ids[12:28, 22:38], ids[5:9, 80:90], ids[12:18, 52:58] = 1, 2, 3
    for name in ("000000", "000003"):
        (tmp_path / "training" / "label_2" / f"{name}.txt").write_text(LABELS)
        Image.fromarray(ids).save(tmp_path / "training" / "instance_2" / f"{name}.png")
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "val.txt").write_text("000003\n000007\n000000\n")
    return tmp_path


def test_a_frame_has_image_camera_labels_points_and_instances(root: Path) -> None:
    data = KittiObject(root)
    assert (len(data), data.names) == (2, ["000000", "000003"])
    frame = data["000003"]
    assert (frame.name, data[1].name, data[-1].name) == ("000003", "000003", "000003")
    assert frame.image.shape == (HEIGHT, WIDTH, 3)
    assert frame.image.dtype == np.uint8
    assert frame.image[0, 0].tolist() == [200, 0, 0]
    assert frame.camera.size == (HEIGHT, WIDTH)
    assert frame.camera.translation.tolist() == pytest.approx([0.1, 0, 0])
    assert [label.type for label in frame.labels] == ["Car", "DontCare", "Van"]
    assert frame.velodyne.shape == (2, 4)
    assert frame.calibration.P0 is not None


def test_iteration_visits_every_frame_once(root: Path) -> None:
    assert [frame.name for frame in KittiObject(root)] == ["000000", "000003"]


def test_convention_instance_id_is_the_row_of_the_label_file(root: Path) -> None:
    car, van = KittiObject(root)["000003"].instances()
    assert (car.name, car.category, car.score) == ("car_01", "Car", 1.0)
    assert (van.name, van.category) == ("van_03", "Van")
    assert car.box == (20.5, 10.5, 39.5, 29.5)  # the row's box, corner based
    assert car.mask.sum() == 16 * 16
    assert car.mask[12:28, 22:38].all()


def test_instances_from_a_file_of_boxes_elsewhere(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text('[{"box": [20, 10, 40, 30]}]')
    (one,) = KittiObject(root)[0].instances(path)
    assert one.mask[10:30, 20:40].any()
    assert not one.mask[:, 40:].any()


def test_an_instance_that_cannot_be_used_is_warned_of(root: Path) -> None:
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[12:28, 22:38], ids[0, 0] = 1, 9
    Image.fromarray(ids).save(root / "training" / "instance_2" / "000000.png")
    frame = KittiObject(root)["000000"]
    with pytest.warns(UserWarning, match="frame 000000: instance object_9 left out: id 9 has no"):
        assert [one.name for one in frame.instances()] == ["car_01"]
    found, rejected = frame.load_frame_instances()
    assert ([one.name for one in found], [one.name for one in rejected]) == (
        ["car_01"],
        ["object_9"],
    )


def test_an_empty_label_file_has_a_row_for_no_id(root: Path) -> None:
    (root / "training" / "label_2" / "000003.txt").write_text("")
    found, rejected = KittiObject(root)["000003"].load_frame_instances()
    assert found == []
    assert [one.reason for one in rejected] == [
        f"id {number} has no row among the 0 labels" for number in (1, 2, 3)
    ]


def test_without_a_label_folder_ids_are_cars(root: Path) -> None:
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[12:28, 22:38] = 7
    Image.fromarray(ids).save(root / "testing" / "instance_2" / "000000.png")
    (one,) = KittiObject(root, split="testing")["000000"].instances()
    assert (one.name, one.category) == ("object_7", "Car")


def test_convention_lidar_depth_by_hand(root: Path) -> None:
    depth = KittiObject(root)["000003"].lidar_depth()
    # Velodyne (10, 1, 0) is camera (-1, 0, 10): u = (50 * -1 + 50 * 10 + 5) / 10 = 45.5 counted
    # from pixel centres, so 46.0 from the corner: column 46, row floor(20.5).
    # Velodyne (20, 2.05, 0): u = (-102.5 + 1000 + 5) / 20 = 45.125 -> 45.625: column 45.
    assert depth.dtype == np.float32
    assert np.argwhere(depth > 0).tolist() == [[20, 45], [20, 46]]
    assert depth[20, 46] == 10
    assert depth[20, 45] == 20


def test_lidar_depth_keeps_the_nearest_and_drops_what_is_outside() -> None:
    calibration = KittiCalibration(
        P2=np.array([[50.0, 0, 50, 0], [0, 50, 20, 0], [0, 0, 1, 0.5]]),
        rectification=np.eye(3),
        velodyne_to_camera=np.eye(4)[:3],  # points are given in the camera frame
    )
    # (0.5, 0.2) undoes the shift of the fourth column: these three meet in pixel (50, 20).
    ahead = [[0.5, 0.2, 9.5, 0], [0.5, 0.2, 4.5, 0], [0.5, 0.2, 19.5, 0]]
    points = np.array([*ahead, [0, 0, -5, 0], [90, 0, 5, 0]], np.float32)
    depth = project_velodyne(points, calibration, (HEIGHT, WIDTH))
    assert (depth > 0).sum() == 1
    assert depth.max() == 5  # z + 0.5 of P2's fourth column
    assert project_velodyne(points[:0], calibration, (HEIGHT, WIDTH)).max() == 0


def test_split_lists(root: Path) -> None:
    data = KittiObject(root)
    assert data.split_list("val") == ["000003", "000007", "000000"]
    assert data.split_list("val", present_only=True) == ["000003", "000000"]
    (root / "mini.txt").write_text("000000\n")
    assert data.split_list("mini") == ["000000"]
    with pytest.raises(InputError, match=r"no split list 'train': expected .*ImageSets"):
        data.split_list("train")
    with pytest.raises(InputError, match=r"no split list '\.\./ImageSets/val'"):
        data.split_list("../ImageSets/val")
    (root / "mini.txt").write_text("000000\n../etc\n")
    with pytest.raises(InputError, match=r"mini\.txt line 2: '\.\./etc' is not a frame name"):
        data.split_list("mini")
    (root / "mini.txt").write_text("000000\n\n000000\n")
    with pytest.raises(InputError, match="line 3: 000000 is given twice, first on line 1"):
        data.split_list("mini")


def test_testing_frames_have_no_labels(root: Path) -> None:
    frame = KittiObject(root, split="testing")["000000"]
    assert frame.labels == []
    with pytest.raises(InputError, match=r"instance_2 holds no file 000000\.png, \.json or \.txt"):
        frame.instances()


def test_a_missing_label_file_is_not_an_empty_one(root: Path) -> None:
    (root / "training" / "label_2" / "000003.txt").unlink()
    with pytest.raises(InputError, match=r"000003\.txt does not exist, expected a KITTI label"):
        _ = KittiObject(root)["000003"].labels


def test_wrong_roots_say_what_to_give(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"give its parent .* with split='training'"):
        KittiObject(root / "training")
    with pytest.raises(InputError, match=r"is not a folder; expected .*training"):
        KittiObject(root / "absent")
    with pytest.raises(InputError, match="no folder validation/image_2; its folders are: Image"):
        KittiObject(root, split="validation")
    (tmp_path / "empty" / "training" / "image_2").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no image"):
        KittiObject(tmp_path / "empty")


def test_names_that_are_no_frames_are_told(root: Path, tmp_path: Path) -> None:
    images = root / "training" / "image_2"
    (images / "a b.png").write_bytes((images / "000003.png").read_bytes())
    with pytest.warns(UserWarning, match=r"1 images of .* are left out, the first is 'a b.png': "):
        data = KittiObject(root)
    assert data.names == ["000000", "000003"]
    with pytest.raises(InputError, match=r"no frame 'a b'; .*ASCII letters, digits, _ and -"):
        data["a b"]
    other = tmp_path / "other" / "training" / "image_2"
    other.mkdir(parents=True)
    (images / "a b.png").rename(other / "a b.png")
    with pytest.raises(InputError, match="holds no image such as 000003.png, 'a b.png' is none"):
        KittiObject(tmp_path / "other")


def test_unknown_frames(root: Path) -> None:
    data = KittiObject(root)
    with pytest.raises(InputError, match="no frame '3'; it holds 2 frames from 000000 to 000003"):
        data["3"]
    with pytest.raises(IndexError):
        data[2]


def test_broken_velodyne_files(tmp_path: Path) -> None:
    path = tmp_path / "0.bin"
    path.write_bytes(b"\0" * 30)
    with pytest.raises(InputError, match="has 30 bytes, expected a multiple of 16"):
        load_velodyne(path)
    points = np.zeros((3, 4), "<f4")
    points[1, 2] = np.nan
    points.tofile(path)
    with pytest.raises(InputError, match=r"0\.bin point 1: .* is not finite \(1 of 3 points\)"):
        load_velodyne(path)
    with path.open("wb") as file:
        file.truncate(2**34)
    with pytest.raises(InputError, match="has 17179869184 bytes, expected a velodyne file of at"):
        load_velodyne(path)
    path.write_bytes(b"")
    assert load_velodyne(path).shape == (0, 4)


def test_broken_images(root: Path) -> None:
    path = root / "training" / "image_2" / "000003.png"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"rubbish", b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"000003\.png cannot be decoded as an image"):
            _ = KittiObject(root)["000003"].image
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(path)
    with pytest.raises(InputError, match="expected an 8-bit image"):
        _ = KittiObject(root)["000003"].image


def test_ids_of_ones_own_are_no_rows_of_the_labels(root: Path, tmp_path: Path) -> None:
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[12:28, 22:38] = 2
    own = tmp_path / "own"
    own.mkdir()
    for path in (own / "000003.png", root / "training" / "instance_2" / "000003.png"):
        Image.fromarray(ids).save(path)
    frame = KittiObject(root)["000003"]
    for source in (own, own / "000003.png"):
        (one,) = frame.load_frame_instances(source)[0]
        assert (one.name, one.category, one.box) == ("object_2", "Car", (22, 12, 38, 28))
    for source in ("instance_2", root / "training" / "instance_2"):
        found, rejected = frame.load_frame_instances(source)
        names = [item.name for item in [*found, *rejected]]
        assert "object_2" not in names  # row 2 of the labels says what it is


def test_masks_of_other_frames_are_not_taken(root: Path) -> None:
    training = root / "training"
    for path in list(training.rglob("00000*")):
        path.rename(path.with_name(path.name.replace("00000", "img_00")))
    image = "img_003"
    (training / "instance_2" / f"{image}.png").unlink()
    Image.fromarray(np.ones((HEIGHT, WIDTH), np.uint8)).save(training / "instance_2/img_009.png")
    with pytest.raises(InputError, match=rf"instance_2 holds no file {image}\.png"):
        KittiObject(root)[image].load_frame_instances()


def test_a_frame_has_no_folder_of_single_masks(root: Path, tmp_path: Path) -> None:
    for stem in ("car_1", "van_2"):
        Image.fromarray(np.ones((HEIGHT, WIDTH), np.uint8)).save(tmp_path / f"{stem}.png")
    frame = KittiObject(root)["000003"]
    with pytest.raises(InputError, match=r"holds no file 000003\.png, \.json or \.txt"):
        frame.load_frame_instances(tmp_path)
    assert len(frame.load_frame_instances(tmp_path / "car_1.png")[0]) == 1


def test_frames_by_numpy_positions(root: Path) -> None:
    data = KittiObject(root)
    assert [data[i].name for i in np.argsort([1, 0])] == ["000003", "000000"]
    assert data[np.int8(-1)].name == "000003"
