"""Procedural pictures of coloured shapes with questions, answers and exact masks.

Everything follows from one seed. All shapes lie in the central square of the picture, because that is all the
CLIP tower sees.
"""
import math
import random
from dataclasses import dataclass

import numpy
from PIL import Image, ImageDraw

COLOURS = {"red": (214, 40, 40), "green": (46, 160, 67), "blue": (38, 84, 220), "yellow": (242, 200, 32)}
SHAPES = ("circle", "square", "triangle", "star")
SIZES = ((256, 256), (256, 192), (192, 256), (320, 240), (240, 320), (256, 208), (300, 225), (224, 224), (188, 250), (252, 189))

QUESTIONS = ("Segment the {x}.", "Where is the {x}?", "What is the {x} in this image? Please output segmentation mask.",
             "Please segment the {x} in this image.", "Can you segment the {x} in this image?")
COLOUR_QUESTIONS = ("What is {x} in this image? Please output segmentation mask.", "Segment everything {x}.")
PAIR_QUESTIONS = ("Segment the {x} and the {y}.", "Where are the {x} and the {y}?")
FOUND, FOUND_PAIR = "It is [SEG].", "The {x} is [SEG] and the {y} is [SEG]."
ABSENT, ABSENT_COLOUR = "There is no {x} in this image.", "There is nothing {x} in this image."


@dataclass
class Item:
    question: str
    answer: str
    masks: list  # one boolean (H, W) array per [SEG] of the answer


@dataclass
class Picture:
    image: Image.Image
    objects: list  # (colour, shape, boolean mask)

    def mask(self, colour=None, shape=None):
        """Union of the objects of that colour and shape; None when there is none."""
        found = [m for c, s, m in self.objects if colour in (None, c) and shape in (None, s)]
        return numpy.logical_or.reduce(found) if found else None


def outline(shape, x, y, radius, angle):
    """Corner points of a square, triangle or star."""
    corners = {"square": 4, "triangle": 3, "star": 10}[shape]
    reach = [radius if shape != "star" or i % 2 == 0 else 0.45 * radius for i in range(corners)]
    return [(x + r * math.cos(angle + 2 * math.pi * i / corners), y + r * math.sin(angle + 2 * math.pi * i / corners))
            for i, r in enumerate(reach)]


def background(rng, width, height):
    """A dull plane, gradient, stripes or speckle, as float (H, W, 3)."""
    def dull():
        grey = rng.uniform(60, 225)
        return numpy.array([grey + rng.uniform(-14, 14) for _ in range(3)])
    ys, xs = numpy.mgrid[:height, :width]
    kind = rng.randrange(4)
    first, second = dull(), dull()
    angle = rng.uniform(0, math.pi)
    along = xs * math.cos(angle) + ys * math.sin(angle)
    if kind == 0:
        weight = numpy.zeros((height, width))
    elif kind == 1:
        weight = (along - along.min()) / (along.max() - along.min())
    elif kind == 2:
        second = first + rng.uniform(-30, 30)
        weight = (numpy.sin(along * 2 * math.pi / rng.uniform(12, 48)) > 0).astype(float)
    else:
        noise = numpy.random.default_rng(rng.randrange(1 << 30))
        weight = noise.random((height, width))
        second = first + rng.uniform(-40, 40)
    return first + (second - first) * weight[..., None]


def draw_picture(rng):
    """A picture of one to four shapes that do not overlap."""
    width, height = rng.choice(SIZES)
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    pixels = background(rng, width, height)
    placed, objects = [], []
    for _ in range(rng.choice((1, 2, 2, 3, 3, 4))):
        radius = side * rng.uniform(0.13, 0.21)
        for _ in range(30):
            x, y = left + rng.uniform(radius, side - radius), top + rng.uniform(radius, side - radius)
            if all(math.hypot(x - a, y - b) > radius + r + 3 for a, b, r in placed):
                break
        else:
            continue
        placed.append((x, y, radius))
        colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
        large = Image.new("L", (2 * width, 2 * height))
        if shape == "circle":
            ImageDraw.Draw(large).ellipse([2 * (x - radius), 2 * (y - radius), 2 * (x + radius), 2 * (y + radius)], fill=255)
        else:
            points = outline(shape, x, y, radius, rng.uniform(0, 2 * math.pi))
            ImageDraw.Draw(large).polygon([(2 * a, 2 * b) for a, b in points], fill=255)
        cover = numpy.asarray(large.reduce(2), dtype=float) / 255
        paint = numpy.array([c + rng.uniform(-18, 18) for c in COLOURS[colour]])
        pixels = pixels * (1 - cover[..., None]) + paint * cover[..., None]
        objects.append((colour, shape, cover >= 0.5))
    return Picture(Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8)), objects)


def split_objects(picture):
    """((colour, shape) pairs in the picture, pairs that are absent; absent near misses counted twice)."""
    present = sorted({(c, s) for c, s, _ in picture.objects})
    absent = [(c, s) for c in COLOURS for s in SHAPES if (c, s) not in present]
    near = [(c, s) for c, s in absent if any(c == a or s == b for a, b in present)]
    return present, absent + near


def ask_one(rng, picture, exists):
    present, absent = split_objects(picture)
    colour, shape = rng.choice(present if exists else absent)
    name = f"{colour} {shape}"
    question = rng.choice(QUESTIONS).format(x=name)
    return Item(question, FOUND, [picture.mask(colour, shape)]) if exists else Item(question, ABSENT.format(x=name), [])


def ask_group(rng, picture):
    """Everything of one colour, or every shape of one kind."""
    if rng.random() < 0.5:
        colour = rng.choice(list(COLOURS))
        question, mask, refusal = rng.choice(COLOUR_QUESTIONS).format(x=colour), picture.mask(colour=colour), ABSENT_COLOUR.format(x=colour)
    else:
        shape = rng.choice(SHAPES)
        question, mask, refusal = rng.choice(QUESTIONS).format(x=shape), picture.mask(shape=shape), ABSENT.format(x=shape)
    return Item(question, refusal, []) if mask is None else Item(question, FOUND, [mask])


def ask_pair(rng, picture):
    """Two objects of the picture: one question, two [SEG]."""
    present, _ = split_objects(picture)
    if len(present) < 2:
        return ask_one(rng, picture, True)
    (a, b), (c, d) = rng.sample(present, 2)
    x, y = f"{a} {b}", f"{c} {d}"
    return Item(rng.choice(PAIR_QUESTIONS).format(x=x, y=y), FOUND_PAIR.format(x=x, y=y), [picture.mask(a, b), picture.mask(c, d)])


def make_item(rng, picture, mix):
    one, none, group = mix
    kind = rng.random()
    if kind < one:
        return ask_one(rng, picture, True)
    if kind < one + none:
        return ask_one(rng, picture, False)
    return ask_group(rng, picture) if kind < one + none + group else ask_pair(rng, picture)


def sample(seed, items=6, mix=(0.40, 0.32, 0.16)):
    """(Picture, questions) of a seed. Seeds below 1,000,000 are held out from training.

    `mix`: shares of present objects, absent objects and groups; the rest are pairs.
    """
    rng = random.Random(seed)
    picture = draw_picture(rng)
    return picture, [make_item(rng, picture, mix) for _ in range(items)]


def sentences():
    """Every sentence the pictures can raise, for training the tokenizer."""
    names = [f"{c} {s}" for c in COLOURS for s in SHAPES] + list(SHAPES)
    for x in names:
        yield from (q.format(x=x) for q in QUESTIONS)
        yield ABSENT.format(x=x)
    for x in COLOURS:
        yield from (q.format(x=x) for q in COLOUR_QUESTIONS)
        yield ABSENT_COLOUR.format(x=x)
    for x in names[:8]:
        for y in names[8:16]:
            yield from (q.format(x=x, y=y) for q in PAIR_QUESTIONS)
            yield FOUND_PAIR.format(x=x, y=y)
    yield from [FOUND, "."] * 60


if __name__ == "__main__":
    import sys
    for number, seed in enumerate(sys.argv[2:]):  # python shape_pictures.py FOLDER SEED...: the demonstration pictures
        sample(int(seed))[0].image.save(f"{sys.argv[1]}/shapes-{'abcdef'[number]}.png", optimize=True)
