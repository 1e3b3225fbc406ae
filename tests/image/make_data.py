"""Makes tests/image/data (small files) and tests/image/expected.h (what Pillow and NumPy say about them).

Needs pillow and numpy. Photographs are only digested, never copied: pass their folder as the first argument, else the photographs
in the present expected.h are kept as they are. Pillow 13 runs the vertical pass first when the height shrinks much more than the
width; the sizes below avoid that, so that every Pillow gives these digests.
"""

import io
import re
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).parent
DATA = HERE / "data"
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
PHOTOS = ["n01440764_tench", "n01530575_brambling", "n02391049_zebra", "n07747607_orange"]


def digest(pixels):
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in np.ascontiguousarray(pixels, dtype=np.uint8).tobytes():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"0x{value:016x}"


def synthetic(width, height):
    """The image that image_test.cpp makes as well: edges, gradients and noise."""
    y, x = np.mgrid[0:height, 0:width].astype(np.uint32)
    noise = ((x * np.uint32(73856093)) ^ (y * np.uint32(19349663))) * np.uint32(2654435761)
    red = np.where((x // 5 + y // 3) % 2 == 0, 255, 0)
    green = (x * 3 + y * 2) % 256
    blue = (noise >> 24) & 255
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def smooth(width, height):
    """A pattern that survives JPEG and differs under every turn."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + 2 * y) * 3 % 256], axis=-1).astype(np.uint8)


def exif(orientation, order, value_type=3):
    head = b"MM\0*" if order == ">" else b"II*\0"
    value = struct.pack(order + ("H2x" if value_type == 3 else "I"), orientation)
    entries = struct.pack(order + "HHI4s", 0x010F, 2, 2, b"x\0\0\0") + struct.pack(order + "HHI", 0x0112, value_type, 1) + value
    return b"Exif\0\0" + head + struct.pack(order + "IH", 8, 2) + entries + struct.pack(order + "I", 0)


def png16(pixels):
    """A 16-bit PNG, which Pillow cannot write for RGB. `pixels` is [height, width] or [height, width, 3 or 4] uint16."""
    height, width = pixels.shape[:2]
    colour = {1: 0, 3: 2, 4: 6}[1 if pixels.ndim == 2 else pixels.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write(name, content):
    (DATA / name).write_bytes(content)


def save(name, image, **options):
    buffer = io.BytesIO()
    image.save(buffer, format={"jpg": "JPEG", "png": "PNG", "bmp": "BMP", "gif": "GIF"}[name[-3:]], **options)
    write(name, buffer.getvalue())


def make_images():
    rgb = Image.fromarray(smooth(24, 16))
    for orientation in range(1, 9):
        save(f"orient{orientation}.jpg", rgb, quality=90, exif=exif(orientation, "<" if orientation % 2 else ">"))
    save("orient_long.jpg", rgb, quality=90, exif=exif(6, "<", 4))
    save("orient.png", rgb, exif=exif(8, ">")[6:])
    save("rgb.jpg", rgb, quality=90)
    odd = Image.fromarray(smooth(23, 17))
    save("odd420.jpg", odd, quality=85, subsampling=2)
    save("odd422.jpg", odd, quality=85, subsampling=1)
    save("odd444.jpg", odd, quality=85, subsampling=0)
    save("progressive.jpg", odd, quality=85, progressive=True)
    save("grey.jpg", odd.convert("L"), quality=85)
    save("cmyk.jpg", Image.merge("CMYK", [*rgb.split(), rgb.split()[0].point(lambda v: v // 2)]), quality=90)
    save("rgb.png", odd)
    alpha = odd.copy()
    alpha.putalpha(odd.split()[1])
    save("rgba.png", alpha)
    save("grey.png", odd.convert("L"))
    save("grey_alpha.png", alpha.convert("LA"))
    save("palette.png", odd.quantize(16))
    save("palette_transparent.png", odd.quantize(16), transparency=3)
    save("bilevel.png", odd.convert("1"))
    save("rgb.bmp", odd)
    save("palette.gif", odd.quantize(16))
    y, x = np.mgrid[0:9, 0:11]
    wide = np.stack([x * 6553 % 65536, y * 8191 % 65536, (x * 251 + y * 4099) % 65536], axis=-1).astype(np.uint16)
    write("grey16.png", png16(wide[..., 2]))
    write("rgb16.png", png16(wide))
    write("rgba16.png", png16(np.concatenate([wide, 65535 - wide[..., :1]], axis=-1)))
    return {"grey16.png": np.repeat(wide[..., 2:] >> 8, 3, axis=-1), "rgb16.png": wide >> 8, "rgba16.png": wide >> 8}


def make_npy():
    for code in ["f4", "f2", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]:
        np.save(DATA / f"{code}.npy", (np.arange(6).reshape(2, 3) * 7 % 5).astype(code))
    np.save(DATA / "b1.npy", np.array([[True, False, True], [False, False, True]]))
    np.save(DATA / "scalar.npy", np.float32(2.5))
    np.save(DATA / "vector.npy", np.arange(4, dtype=np.int64))
    np.save(DATA / "empty.npy", np.zeros((0, 3), np.float32))
    np.save(DATA / "fortran.npy", np.asfortranarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4)))
    np.save(DATA / "big_endian.npy", np.arange(4, dtype=">i4"))
    np.save(DATA / "complex.npy", np.zeros(2, np.complex64))
    np.save(DATA / "structured.npy", np.zeros(2, [("a", "f4"), ("b", "i4")]))
    np.save(DATA / "bf16.npy", np.array([0x3F80, 0xC000], np.uint16).view("V2"))
    for version in (2, 3):
        with open(DATA / f"version{version}.npy", "wb") as file:
            np.lib.format.write_array(file, np.arange(6, dtype=np.float32).reshape(2, 3), version=(version, 0))


def fit(image, resize, crop_width, crop_height):
    """Torchvision's Resize(short side) and CenterCrop."""
    width, height = image.size
    short, long = sorted((width, height))
    sides = (resize, int(resize * long / short))
    size = sides if width <= height else sides[::-1]
    pixels = np.asarray(image if size == image.size else image.resize(size, FILTERS["bilinear"]))
    missing = [max(crop_height - pixels.shape[0], 0), max(crop_width - pixels.shape[1], 0)]
    pixels = np.pad(pixels, [*((m // 2, (m + 1) // 2) for m in missing), (0, 0)])
    top = int(round((pixels.shape[0] - crop_height) / 2.0))
    left = int(round((pixels.shape[1] - crop_width) / 2.0))
    return pixels[top : top + crop_height, left : left + crop_width]


def photographs(folder):
    rows = []
    for name in PHOTOS:
        image = Image.open(folder / f"{name}.JPEG").convert("RGB")
        size = (256, int(256 * image.height / image.width)) if image.width <= image.height else (int(256 * image.width / image.height), 256)
        parts = [digest(image), *(digest(image.resize(size, f)) for f in FILTERS.values())]
        rows.append(f'    {{"{name}.JPEG", {size[0]}, {size[1]}, {parts[0]}, {{{", ".join(parts[1:])}}}}},')
    return rows


def main():
    DATA.mkdir(exist_ok=True)
    by_hand = make_images()
    make_npy()
    out = ["// Made by make_data.py: what Pillow says. Digests are FNV-1a over the RGB bytes.", "#pragma once", "", "#include <cstdint>", "",
           "// clang-format off", "struct ExpectedFile { const char* name; int width, height; uint64_t digest; };",
           "inline constexpr ExpectedFile kFiles[] = {"]
    for path in sorted(p for p in DATA.iterdir() if p.suffix != ".npy"):
        pixels = by_hand.get(path.name)
        if pixels is None:
            pixels = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        out.append(f'    {{"{path.name}", {pixels.shape[1]}, {pixels.shape[0]}, {digest(pixels)}}},')
    out += ["};", "", "/// Of the synthetic image of 97 x 61 pixels; bilinear, bicubic, lanczos.",
            "struct ExpectedResize { int width, height; uint64_t digest[3]; };", "inline constexpr ExpectedResize kResizes[] = {"]
    image = Image.fromarray(synthetic(97, 61))
    for size in [(48, 30), (31, 61), (97, 40), (97, 61), (200, 126), (97, 150), (130, 61), (40, 90), (1, 1), (96, 60), (300, 61)]:
        digests = ", ".join(digest(image.resize(size, f)) for f in FILTERS.values())
        out.append(f"    {{{size[0]}, {size[1]}, {{{digests}}}}},")
    out += ["};", "", "/// Resize of the short side (bilinear) and centre crop of a synthetic image.",
            "struct ExpectedFit { int width, height, resize, crop_width, crop_height; uint64_t digest; };", "inline constexpr ExpectedFit kFits[] = {"]
    for width, height, resize, crop_width, crop_height in [(97, 61, 32, 28, 28), (61, 97, 32, 28, 28), (97, 61, 61, 40, 40), (97, 61, 33, 28, 28),
                                                           (97, 61, 35, 32, 32), (20, 20, 20, 33, 28), (97, 61, 24, 32, 32), (97, 61, 40, 48, 20),
                                                           (61, 97, 24, 31, 60)]:
        value = digest(fit(Image.fromarray(synthetic(width, height)), resize, crop_width, crop_height))
        out.append(f"    {{{width}, {height}, {resize}, {crop_width}, {crop_height}, {value}}},")
    out += ["};", "", "/// Photographs of ../shared/images: the decoded pixels, and resized by the three filters.",
            "struct ExpectedPhoto { const char* name; int width, height; uint64_t pixels; uint64_t resized[3]; };",
            "inline constexpr ExpectedPhoto kPhotos[] = {"]
    expected = HERE / "expected.h"
    if len(sys.argv) > 1:
        out += photographs(Path(sys.argv[1]))
    else:
        out += re.findall(r'^    \{"\w+\.JPEG".*$', expected.read_text(), re.M)
    out += ["};", "// clang-format on", ""]
    expected.write_text("\n".join(out))


if __name__ == "__main__":
    main()
