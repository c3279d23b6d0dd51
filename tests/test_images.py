import gzip
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tolerance import assert_close

from unspool.data.arrays import read_arrays
from unspool.data.augment import mirrored, moved
from unspool.data.image_file import read_image
from unspool.data.image_settings import ImageSettings
from unspool.data.images import ImageEncoder
from unspool.data.made_samples import SHAPES, shapes
from unspool.errors import ConfigError, DataError


@pytest.fixture
def pillow():
    return pytest.importorskip("PIL.Image", reason="Pillow is missing: unspool[image]")


def colours(seed=0, height=5, width=7):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def test_training_images_have_mean_zero_and_deviation_one():
    images = [colours(seed) for seed in range(4)]
    encoder = ImageEncoder.fit(images, ImageSettings())
    encoded = torch.stack([encoder.encode(image) for image in images])
    assert encoder.shape == {"kind": "image", "height": 5, "width": 7, "channels": 3}
    assert encoded.mean((0, 2, 3)).abs().max() < 1e-5
    assert (encoded.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5


def test_the_order_of_training_images_changes_no_figure():
    images = shapes(each=3).inputs
    one, two = (ImageEncoder.fit(each, ImageSettings()) for each in (images, images[::-1]))
    assert one.to_dict() == two.to_dict()


def test_images_of_one_value_give_zeros():
    encoder = ImageEncoder.fit([np.full((3, 3), 9, np.uint8)], ImageSettings())
    assert encoder.encode(np.full((3, 3), 9, np.uint8)).abs().max() == 0


def test_the_size_is_the_one_that_most_training_images_have():
    images = [np.zeros(size, np.uint8) for size in ((4, 6), (5, 5), (4, 6))]
    assert ImageEncoder.fit(images, ImageSettings()).shape["width"] == 6
    encoder = ImageEncoder.fit(images, ImageSettings(size=8))
    assert encoder.encode(images[0]).shape == (1, 8, 8)


def test_another_size_is_scaled_in_proportion_and_stands_in_the_middle():
    wide = np.full((2, 8), 200, np.uint8)
    encoder = ImageEncoder.fit([np.array([[0, 100]], np.uint8)], ImageSettings(size=4))
    found = encoder.encode(wide)[0]
    assert (found[[0, 1, 3]] == 0).all() or (found[[0, 2, 3]] == 0).all()
    assert_close(
        found.abs().sum(1).max(), 4 * encoder.encode(np.full((4, 4), 200, np.uint8))[0, 0, 0]
    )


def test_colours_become_grey_by_their_brightness_where_training_was_grey():
    encoder = ImageEncoder.fit([np.array([[0, 255]], np.uint8)], ImageSettings())
    grey = np.array([[30, 90]], np.uint8)
    assert_close(encoder.encode(np.stack([grey] * 3, 2)), encoder.encode(grey))
    assert encoder.encode(np.array([[[0, 255, 0], [255, 0, 0]]], np.uint8))[0, 0].argmax() == 0


def test_grey_is_repeated_where_training_had_colours():
    encoder = ImageEncoder.fit([colours()], ImageSettings())
    assert encoder.encode(np.zeros((5, 7), np.uint8)).shape == (3, 5, 7)


def test_rows_are_the_same_numbers_as_the_image_in_reading_order():
    images = [colours(1), colours(2)]
    whole, rows = (ImageEncoder.fit(images, ImageSettings(rows=r)) for r in (False, True))
    image, lengths = whole.collate([whole.encode(each) for each in images])
    frames, _ = rows.collate([rows.encode(each) for each in images])
    assert lengths.tolist() == [5, 5]
    assert rows.shape == {"kind": "frames", "size": 21}
    assert torch.equal(frames["frames"].view(2, 5, 7, 3), image["image"].permute(0, 2, 3, 1))


@pytest.mark.parametrize("rows", [False, True])
def test_variations_repeat_with_their_generator_and_differ_without(rows):
    encoder = ImageEncoder.fit(
        shapes(each=2).inputs, ImageSettings(shift=2, mirror=True, rows=rows)
    )
    inputs, lengths = encoder.collate([encoder.encode(each) for each in shapes(each=2).inputs])
    name = next(iter(inputs))
    one, two, other = (
        encoder.vary(inputs, lengths, torch.Generator().manual_seed(seed))[name]
        for seed in (1, 1, 2)
    )
    assert one.shape == inputs[name].shape
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_moving_an_image_keeps_its_inner_points(rng):
    images = torch.randn(9, 2, 8, 8, generator=rng)
    found = moved(images, 2, rng)
    for before, after in zip(images, found, strict=True):
        places = [
            (a, b) for a in range(5) for b in range(5)
            if torch.equal(after[:, 2:6, 2:6], before[:, a : a + 4, b : b + 4])
        ]  # fmt: skip
        assert len(places) == 1


def test_mirroring_turns_about_half_of_the_images(rng):
    images = torch.randn(400, 1, 2, 2, generator=rng)
    turned = (mirrored(images, rng) != images).flatten(1).any(1)
    assert 140 < turned.sum() < 260


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F", "PA"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_grey_or_three_colours(mode, pillow, tmp_path):
    path = tmp_path / ("x.tif" if mode in ("CMYK", "YCbCr", "F", "PA", "I") else "x.png")
    if mode in ("I;16", "I", "F"):
        values = np.array([[0, 257 * 100, 65535]])
        kinds = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
        pillow.fromarray(values.astype(kinds[mode])).save(path)
        assert read_image(path).tolist() == [[0, 100, 255]]
        return
    image = pillow.fromarray(colours()).convert("LA" if mode == "PA" else mode)
    image.save(path)
    points = read_image(path)
    assert points.dtype == np.uint8
    assert points.shape == ((5, 7) if mode in ("1", "L", "LA", "PA") else (5, 7, 3))


def test_what_is_transparent_lies_on_white(pillow, tmp_path):
    points = np.zeros((2, 2, 4), np.uint8)
    points[0, 0, 3] = 255
    pillow.fromarray(points).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png")[:, :, 0].tolist() == [[0, 255], [255, 255]]


def test_a_folder_of_mixed_sizes_and_modes_becomes_one_tensor(pillow, tmp_path):
    paths = []
    for number, (mode, size) in enumerate([("L", (4, 4)), ("RGBA", (9, 3)), ("1", (5, 8))]):
        paths.append(str(tmp_path / f"{number}.png"))
        pillow.fromarray(colours(number, *size)).convert(mode).save(paths[-1])
    encoder = ImageEncoder.fit(paths, ImageSettings(size=6))
    inputs, _ = encoder.collate([encoder.encode(path) for path in paths])
    assert inputs["image"].shape == (3, 3, 6, 6)


def test_a_damaged_image_is_an_error_of_one_line(pillow, tmp_path):
    path = tmp_path / "x.png"
    pillow.fromarray(colours(0, 30, 30)).save(path)
    content = path.read_bytes()
    for damaged in (b"", content[:20], content[:-200], b"not an image", bytes(300)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"x\.png: ") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)


def test_an_image_of_too_many_points_is_refused_before_it_is_unpacked(pillow, tmp_path):
    pillow.new("1", (10_000, 6_000)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="10000 x 6000"):
        read_image(tmp_path / "x.png")


def test_an_image_file_without_its_extra_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"unspool\[image\]"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize(
    "image", [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 2), np.uint8), 3]
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(DataError, match="uint8"):
        ImageEncoder.fit([np.zeros((2, 2), np.uint8)], ImageSettings()).encode(image)


def test_wrong_settings_are_named():
    with pytest.raises(ConfigError, match=r"image\.size.*image\.shift"):
        ImageSettings(size=-1, shift=-1)


def idx(array):
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_files_give_the_images_they_hold(pack, tmp_path):
    images = np.stack(shapes(each=1).inputs)
    (tmp_path / "x").write_bytes(pack(idx(images)))
    assert np.array_equal(read_arrays(tmp_path / "x")["x"], images)


@settings(max_examples=120, deadline=None)
@given(st.booleans(), st.data())
def test_mutated_idx_bytes_give_an_array_or_one_line(packed, data):
    whole = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    content = bytearray(gzip.compress(whole, mtime=0) if packed else whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        try:
            found = read_arrays(path)["x"]
        except DataError as error:
            assert "\n" not in str(error)
        else:
            assert found.nbytes <= 8 * len(whole)


def test_drawn_shapes_differ_from_seed_to_seed_and_from_kind_to_kind():
    one, same, other = shapes(each=4), shapes(each=4), shapes(each=4, seed=8)
    assert all(np.array_equal(a, b) for a, b in zip(one.inputs, same.inputs, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(one.inputs, other.inputs, strict=True))
    assert sorted(set(one.targets)) == list(SHAPES)
    assert all(image.max() > 100 for image in one.inputs)
