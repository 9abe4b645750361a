"""Writes the small goldens of the image, mask and drawing code beside this file.

Run with Python 3.11 and, from PyPI: pillow==10.4.0 numpy==2.4.6 pycocotools==2.0.11 opencv-python-headless==5.0.0.93
    python make_goldens.py
"""

import io
import json
import pathlib
import warnings

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco

HERE = pathlib.Path(__file__).parent


def noise(seed, count):
    """Bytes of a linear congruential generator (the Rust tests repeat it): the top byte of each state."""
    out, state = bytearray(), seed
    for _ in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        out.append(state >> 24)
    return bytes(out)


def resize():
    """Pillow's resize. A line: filter channels width height new_width new_height seed samples(hex)."""
    cases = [
        (7, 5, 3, 4), (5, 7, 11, 9), (16, 16, 5, 5), (1, 1, 4, 3), (3, 1, 1, 5), (9, 6, 9, 3), (9, 6, 4, 6),
        (40, 3, 2, 7), (13, 11, 14, 12), (31, 29, 8, 7), (64, 2, 3, 1), (2, 64, 1, 3), (2, 2, 12, 12), (6, 6, 6, 6),
    ]
    lines = []
    for name, filter_ in (("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)):
        for channels, mode in ((1, "L"), (3, "RGB")):
            for seed, (w, h, nw, nh) in enumerate(cases):
                image = Image.frombytes(mode, (w, h), noise(seed, w * h * channels))
                data = image.resize((nw, nh), filter_).tobytes().hex()
                lines.append(f"{name} {channels} {w} {h} {nw} {nh} {seed} {data}")
    (HERE / "resize.txt").write_text("\n".join(lines) + "\n")


def rle():
    """pycocotools on random masks and polygons: strings, areas, boxes, merges, IoU."""
    rng = np.random.default_rng(7)
    masks = []
    for h, w, p in [(1, 1, 0.0), (1, 1, 1.0), (3, 5, 0.0), (3, 5, 1.0), (4, 4, 0.5), (17, 9, 0.2), (9, 17, 0.8), (12, 12, 0.05)]:
        mask = (rng.random((h, w)) < p).astype(np.uint8)
        encoded = coco.encode(np.asfortranarray(mask))
        masks.append({"rows": ["".join(map(str, row)) for row in mask.tolist()], "counts": encoded["counts"].decode(),
                      "size": encoded["size"], "area": int(coco.area(encoded)), "bbox": coco.toBbox(encoded).tolist()})
    big = np.zeros((300, 70), np.uint8)
    big[40:260, 20:33] = 1
    big[::7, :] = 0
    encoded = coco.encode(np.asfortranarray(big))
    stripes = {"counts": encoded["counts"].decode(), "area": int(coco.area(encoded)), "bbox": coco.toBbox(encoded).tolist()}
    h, w = 30, 41
    polygons = []
    for points, spread in [(3, 1.0), (4, 1.0), (5, 1.6), (8, 1.2), (12, 0.6), (7, 3.0), (4, 0.05)]:
        xy = ((rng.random((points, 2)) - 0.5) * [w * spread, h * spread] + [w / 2, h / 2]).round(3).reshape(-1).tolist()
        encoded = coco.frPyObjects([xy], h, w)[0]
        polygons.append({"xy": xy, "counts": encoded["counts"].decode()})
    for xy in ([5, 5, 5, 20, 25, 20, 25, 5], [0, 0, 0, h, w, h, w, 0], [10, 10, 10, 10, 10, 10], [-5, -5, 50, 50, 3, 40], [4.5, 4.5, 20.5, 4.5, 20.5, 4.5]):
        encoded = coco.frPyObjects([xy], h, w)[0]
        polygons.append({"xy": xy, "counts": encoded["counts"].decode()})
    rles = [{"size": [h, w], "counts": p["counts"].encode()} for p in polygons]
    out = {
        "masks": masks, "stripes": stripes, "size": [h, w], "polygons": polygons,
        "union": coco.merge(rles[:6])["counts"].decode(),
        "intersection": coco.merge(rles[2:5], intersect=True)["counts"].decode(),
        "iou": coco.iou(rles[:6], rles[:6], [0] * 6).tolist(),
        "iou_crowd": coco.iou(rles[:6], rles[:6], [1] * 6).tolist(),
    }
    (HERE / "rle.json").write_text(json.dumps(out))


def jet():
    """OpenCV's JET table: 256 RGB triples (hex)."""
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_JET)[:, 0, ::-1]
    (HERE / "jet.txt").write_text(table.tobytes().hex() + "\n")


def colours():
    """Encoded files (hex) with the RGB that OpenCV's imread (IMREAD_COLOR) gives, or ours where it has no say."""
    width, height = 6, 4
    rgb16 = np.frombuffer(noise(3, width * height * 6), np.uint16).reshape(height, width, 3)
    rgba = np.frombuffer(noise(4, width * height * 4), np.uint8).reshape(height, width, 4)
    rgb = np.ascontiguousarray(rgba[..., :3])
    grey = np.ascontiguousarray(rgba[..., 0])
    files = {}

    def cv(extension, array):
        return cv2.imencode("." + extension, array)[1].tobytes()

    def pil(format_, image, **options):
        buffer = io.BytesIO()
        image.save(buffer, format_, **options)
        return buffer.getvalue()

    files["rgb16.png"] = cv("png", rgb16)
    files["grey16.png"] = cv("png", np.ascontiguousarray(rgb16[..., 0]))
    files["rgba.png"] = cv("png", rgba)
    files["grey.png"] = cv("png", grey)
    files["grey_alpha.png"] = pil("PNG", Image.fromarray(np.ascontiguousarray(rgba[..., :2]), "LA"))
    palette = Image.fromarray(rgb).quantize(8)
    files["palette.png"] = pil("PNG", palette)
    files["palette_transparent.png"] = pil("PNG", palette, transparency=2)
    files["bilevel.png"] = pil("PNG", Image.fromarray((grey > 127)))
    files["rgb.bmp"] = pil("BMP", Image.fromarray(rgb))
    files["rgb.tif"] = pil("TIFF", Image.fromarray(rgb))
    files["rgba.tif"] = pil("TIFF", Image.fromarray(rgba))
    files["grey16.tif"] = cv("tif", np.ascontiguousarray(rgb16[..., 0]))
    files["rgb.webp"] = pil("WEBP", Image.fromarray(rgb), lossless=True)
    files["rgba.webp"] = pil("WEBP", Image.fromarray(rgba), lossless=True, exact=True)
    expected = {name: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for name, data in files.items()}
    # OpenCV multiplies a TIFF's colours by their alpha; ours are dropped alpha, as in every other format.
    expected["rgba.tif"] = rgb
    # Formats that OpenCV does not read: the pixels that Pillow wrote.
    files["rgb.tga"] = pil("TGA", Image.fromarray(rgb))
    files["rgba.ico"] = pil("ICO", Image.fromarray(np.ascontiguousarray(rgba[:4, :4])), sizes=[(4, 4)])
    files["first_frame.gif"] = pil("GIF", palette, save_all=True, append_images=[Image.new("P", (width, height))])
    expected["rgb.tga"] = rgb
    expected["rgba.ico"] = rgb[:4, :4]
    expected["first_frame.gif"] = np.array(palette.convert("RGB"))
    # The eight EXIF orientations in a PNG: Pillow's transpose of the same tag.
    from PIL import ImageOps
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = pil("PNG", Image.fromarray(rgb), exif=exif)
        files[f"orientation{orientation}.png"] = data
        expected[f"orientation{orientation}.png"] = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    out = {name: {"file": files[name].hex(), "width": int(e.shape[1]), "height": int(e.shape[0]), "rgb": np.ascontiguousarray(e).tobytes().hex()}
           for name, e in expected.items()}
    # A CMYK and an oriented JPEG: Pillow's decode, compared with a tolerance.
    smooth = np.stack(np.meshgrid(np.arange(24) * 10, np.arange(16) * 14), -1)
    smooth = np.concatenate([smooth, 255 - smooth[..., :1]], -1).clip(0, 255).astype(np.uint8)
    data = pil("JPEG", Image.fromarray(smooth).convert("CMYK"), quality=95)
    e = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    out["cmyk.jpg"] = {"file": data.hex(), "width": 24, "height": 16, "rgb": np.ascontiguousarray(e).tobytes().hex()}
    exif = Image.Exif()
    exif[0x0112] = 6
    data = pil("JPEG", Image.fromarray(smooth), quality=95, exif=exif)
    e = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    out["orientation6.jpg"] = {"file": data.hex(), "width": 16, "height": 24, "rgb": np.ascontiguousarray(e).tobytes().hex()}
    (HERE / "colours.json").write_text(json.dumps(out))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    resize()
    rle()
    jet()
    colours()
