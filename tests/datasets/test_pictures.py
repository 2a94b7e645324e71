"""Files of images, labels and instances: right, damaged, turned, and with ids in other places."""

import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from ibnseg.datasets.pictures import (
    MOST_PIXELS,
    read_image,
    read_instances,
    read_label,
    read_upright,
)
from ibnseg.datasets.sizes import stored_size
from ibnseg.support.errors import UserError

IDS = np.random.default_rng(0).integers(0, 34, (12, 9), np.uint8)


def encoded(pixels: np.ndarray, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def png(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, with right checksums."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in parts
    )


def refused(read, path) -> str:
    with pytest.raises(UserError) as error:
        read(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


# --- what is right ---


def test_an_image_is_read_as_bgr(tmp_path):
    Image.new("RGB", (3, 2), (10, 20, 30)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert (image.shape, image.dtype) == ((2, 3, 3), np.uint8)
    assert image[0, 0].tolist() == [30, 20, 10]


def test_an_image_is_read_by_its_content_whatever_its_suffix(tmp_path):
    image = np.full((4, 5, 3), 90, np.uint8)
    for form in ("JPEG", "BMP"):
        (tmp_path / "a.png").write_bytes(encoded(image, form))
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image, err_msg=form)


def test_label_as_stored_l_p_and_rgb(tmp_path):
    ids = np.array([[0, 7, 33], [255, 1, 2]], np.uint8)
    Image.fromarray(ids).save(tmp_path / "l.png")
    palette = Image.fromarray(ids)
    palette.putpalette([i for color in range(256) for i in (255 - color, color, 7)])
    palette.save(tmp_path / "p.png")
    rgb = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    for name, expected in {"l": ids, "p": ids, "rgb": rgb}.items():
        label = read_label(tmp_path / f"{name}.png")
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(label, expected)


def test_a_palette_of_4_bits_has_its_indices(tmp_path):
    image = Image.fromarray(IDS % 13)
    image.putpalette([i for color in range(16) for i in (color, 0, 255 - color)])
    image.save(tmp_path / "p4.png", bits=4)
    assert (tmp_path / "p4.png").read_bytes()[24] == 4
    np.testing.assert_array_equal(read_label(tmp_path / "p4.png"), IDS % 13)


def test_labels_may_be_of_other_exact_formats_under_their_own_suffixes(tmp_path):
    for form in ("TIFF", "BMP"):
        path = tmp_path / f"a.{form.lower()}"
        path.write_bytes(encoded(IDS, form))
        np.testing.assert_array_equal(read_label(path), IDS, err_msg=form)


def test_a_missing_file_is_named(tmp_path):
    for read in (read_image, read_upright, read_label, read_instances):
        assert refused(read, tmp_path / "none.png").endswith("none.png: no such file")


def test_instances_are_of_16_bits(tmp_path):
    ids = np.array([[7, 26000, 33999], [0, 1000, 65535]], np.uint16)
    path = tmp_path / "instances.png"
    Image.fromarray(ids).save(path)
    found = read_instances(path)
    assert found.dtype == np.uint16
    assert found.tolist() == ids.tolist()
    Image.fromarray(ids.astype(np.uint8)).save(path)
    text = refused(read_instances, path)
    assert text == f"{path}: instance map of mode L, expected 16-bit ids (I;16)"


def test_instances_of_32_bits_are_refused(tmp_path):
    path = tmp_path / "instances.tif"
    Image.fromarray(np.array([[7, 26000, 70000]], np.int32)).save(path)
    assert refused(read_instances, path) == (
        f"{path}: instance map of mode I, expected 16-bit ids (I;16)"
    )


# --- what is damaged ---

FILES = {
    "grey": (IDS, read_label),
    "palette": (Image.fromarray(IDS).convert("P"), read_label),
    "colours": (np.repeat(IDS[..., None], 3, axis=2), read_label),
    "instances": (IDS.astype(np.uint16) * 1000 + 3, read_instances),
    "image": (np.repeat(IDS[..., None], 3, axis=2) * 7, read_image),
}


@pytest.fixture(params=FILES)
def whole(request, tmp_path):
    """A PNG file, its reader, and what is read of it."""
    pixels, read = FILES[request.param]
    path = tmp_path / "x.png"
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path)
    return path, read, read(path)


def test_a_png_cut_anywhere_is_refused(whole):
    path, read, _ = whole
    content = path.read_bytes()
    for size in [*range(0, len(content) - 20, 9), *range(len(content) - 20, len(content))]:
        path.write_bytes(content[:size])
        assert "truncated or" in refused(read, path)


def test_a_png_with_any_bit_flipped_is_refused(whole):
    path, read, _ = whole
    content = bytearray(path.read_bytes())
    places = np.random.default_rng(1).permutation(len(content))[:50].tolist()
    for place in {*places, 18, len(content) - 1}:  # in the width, and the last byte
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        assert refused(read, path).startswith(f"{path}: "), place
        content[place] ^= 1 << place % 8


def test_what_follows_the_last_chunk_changes_nothing(whole):
    path, read, pixels = whole
    path.write_bytes(path.read_bytes() + b"a note of somebody")
    np.testing.assert_array_equal(read(path), pixels)


def test_zlib_s_own_checksum_is_verified(whole):
    path, read, pixels = whole
    parts = chunks(path.read_bytes())
    damaged = [
        (kind, data[:-1] + bytes([data[-1] ^ 1]) if kind == b"IDAT" else data)
        for kind, data in parts
    ]
    path.write_bytes(png(parts))
    np.testing.assert_array_equal(read(path), pixels)
    path.write_bytes(png(damaged))
    assert refused(read, path).startswith(f"{path}: ")


def test_the_damaged_chunk_is_named(tmp_path):
    path = tmp_path / "a.png"
    content = bytearray(encoded(IDS))
    content[content.index(b"IDAT") + 20] ^= 4
    path.write_bytes(content)
    assert refused(read_label, path) == (
        f"{path}: truncated or damaged (the checksum of chunk 'IDAT' at byte 33 is wrong); unpack "
        "or download it again"
    )


def test_an_image_cut_anywhere_is_refused(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for form, options in (
        ("JPEG", {}),
        ("JPEG", dict(progressive=True)),
        ("TIFF", {}),
        ("WEBP", dict(lossless=True)),
        ("BMP", {}),
        ("PPM", {}),
    ):
        content = encoded(pixels, form, **options)
        path = tmp_path / f"a.{form.lower()}"
        for size in [*range(0, len(content) - 1, 29), len(content) - 1]:
            path.write_bytes(content[:size])
            for read in (read_image, read_upright):
                assert refused(read, path).startswith(f"{path}: "), (form, size)


def test_a_jpeg_whose_end_is_zeros_is_refused_even_if_its_thumbnail_has_an_end(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    comment = encoded(pixels[:8, :8], "JPEG")
    content = encoded(pixels, "JPEG", comment=comment)
    path = tmp_path / "a.jpg"
    for share in (0.5, 0.9):
        size = int(share * len(content))
        assert b"\xff\xd9" in content[:size]
        path.write_bytes(content[:size] + bytes(len(content) - size))
        assert "truncated" in refused(read_image, path)
    path.write_bytes(content + b"what a camera appends")
    assert read_image(path).shape == (64, 64, 3)


# --- what is no label ---


def test_a_label_of_another_format_under_png_is_refused_by_its_format(tmp_path):
    path = tmp_path / "a.png"
    for form in ("JPEG", "WEBP", "BMP", "TIFF", "GIF"):
        path.write_bytes(encoded(IDS, form))
        assert refused(read_label, path).startswith(f"{path}: label is {form}, expected PNG")
    path.write_bytes(encoded(IDS.astype(np.uint16), "TIFF"))
    text = refused(read_instances, path)
    assert text.startswith(f"{path}: instance map is TIFF, expected PNG")


def test_a_label_of_a_format_that_changes_ids_is_refused_under_its_own_suffix_too(tmp_path):
    for form in ("JPEG", "GIF"):
        path = tmp_path / f"a.{form.lower()}"
        path.write_bytes(encoded(IDS, form))
        assert refused(read_label, path).startswith(f"{path}: label is {form}, expected PNG")


def test_grey_labels_of_fewer_bits_are_refused_because_they_would_be_rescaled(tmp_path):
    for bits in (2, 4):
        header = bytes([0, 0, 0, 8, 0, 0, 0, 1, bits, 0, 0, 0, 0])  # 8x1, grey
        data = zlib.compress(bytes([0] + [0b00011011] * bits))
        path = tmp_path / "a.png"
        path.write_bytes(png([(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]))
        assert f"label has {bits} bits a pixel" in refused(read_label, path)


# --- ids in a channel ---


def coloured(path, dtype, red, green, blue=None) -> None:
    """A PNG whose channels hold these values."""
    blue = np.zeros_like(red) if blue is None else blue
    assert cv2.imwrite(str(path), np.stack([blue, green, red], axis=-1).astype(dtype))


@pytest.fixture
def synthia(tmp_path):
    """A label as SYNTHIA has it: 16 bits, the class in red and the instance in green."""
    ids = np.array([[3, 22, 0], [15, 1, 8]])
    coloured(tmp_path / "s.png", np.uint16, ids, np.array([[17, 0, 0], [300, 2, 70]]))
    return tmp_path / "s.png", ids


def test_colours_of_16_bits_are_refused_by_name(synthia):
    path, _ = synthia
    assert refused(read_label, path) == (
        f"{path}: label has several channels of 16 bits, expected one channel of 8-bit ids; if one "
        "of them holds the ids, the adapter has to say so with LABEL_CHANNEL (red, green, blue)"
    )


def test_the_named_channel_holds_the_ids(synthia, tmp_path):
    path, ids = synthia
    label = read_label(path, "red")
    assert (label.dtype, label.tolist()) == (np.uint8, ids.tolist())
    one, two, three = IDS, IDS[::-1], IDS[:, ::-1]
    coloured(tmp_path / "8.png", np.uint8, one, two, three)
    for channel, expected in dict(red=one, green=two, blue=three).items():
        np.testing.assert_array_equal(read_label(tmp_path / "8.png", channel), expected)


def test_the_named_channel_beside_transparency(tmp_path):
    rgba = np.stack([IDS, 0 * IDS, 0 * IDS, 0 * IDS + 255], axis=-1)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(tmp_path / "a.png", "red"), IDS)


def test_one_channel_of_ids_needs_no_name(tmp_path):
    Image.fromarray(IDS).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(tmp_path / "a.png", "blue"), IDS)


def test_ids_that_8_bits_do_not_hold_are_refused(synthia):
    path, _ = synthia

    def read(path):
        return read_label(path, "green")

    assert refused(read, path) == f"{path}: the green channel has the id 300, expected 0 to 255"


# --- orientation ---

FORMS = {
    "JPEG": dict(quality=95, subsampling=0),
    "PNG": {},
    "WEBP": dict(lossless=True),
    "TIFF": {},
}


@pytest.mark.parametrize("form", FORMS)
def test_stored_pixels_are_those_of_the_label_and_upright_ones_follow_exif(form, tmp_path):
    corner = np.zeros((24, 40, 3), np.uint8)
    corner[:8, :16] = 200, 120, 40
    path = tmp_path / f"a.{form.lower()}"
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        path.write_bytes(encoded(corner, form, exif=exif, **FORMS[form]))
        stored, (upright, turned) = read_image(path), read_upright(path)
        flat = Image.fromarray(corner)
        flat.getexif()[274] = orientation
        for found, expected in (
            (stored, corner),
            (upright, np.asarray(ImageOps.exif_transpose(flat))),
        ):
            assert found.shape == expected.shape, orientation
            difference = np.abs(found[..., ::-1].astype(int) - expected)
            assert difference.max() < 12, orientation
        assert turned == (orientation != 1)


def test_an_orientation_that_makes_no_sense_turns_nothing(tmp_path):
    image = np.zeros((4, 6, 3), np.uint8)
    for orientation in (0, 9, 65535):
        exif = Image.Exif()
        exif[274] = orientation
        path = tmp_path / "a.jpg"
        path.write_bytes(encoded(image, "JPEG", exif=exif))
        upright, turned = read_upright(path)
        assert (upright.shape, turned) == ((4, 6, 3), False), orientation


# --- size and kind of the file ---


def png_of_size(width: int, height: int) -> bytes:
    """A PNG of 1x1 whose header, with a right checksum, says another size."""
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


@pytest.mark.parametrize("read", [read_image, read_upright, read_label, stored_size])
def test_more_pixels_than_the_limit_are_refused_by_the_header(tmp_path, read):
    path = tmp_path / "x.png"
    path.write_bytes(png_of_size(100_000, 100_000))
    with pytest.raises(UserError, match=r"x.png: has more than 178,956,970 pixels, the most"):
        read(path)
    assert MOST_PIXELS == 2 * Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("read", [read_image, read_upright, read_label, stored_size])
def test_a_pipe_a_device_and_a_folder_are_no_images(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name, kind in (("pipe.png", "a named pipe"), ("zero.png", "a device"), (".", "a folder")):
        with pytest.raises(UserError, match=f": is {kind}, expected a file$"):
            read(tmp_path / name)


def test_opencv_prints_nothing_of_a_damaged_image(tmp_path, capfd):
    """Its warnings would stand beside the one line of the error."""
    whole = chunks(encoded(np.zeros((4, 5, 3), np.uint8)))
    path = tmp_path / "a.png"
    for kind in (b"IHDR", b"IDAT"):
        path.write_bytes(png([chunk for chunk in whole if chunk[0] != kind]))
        refused(read_image, path)
    assert capfd.readouterr().err == ""
