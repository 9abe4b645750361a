"""Prints the hash that the unit test of src/mask/fill_poly.rs compares with.

Needs PyPI opencv-python-headless==4.8.0.74, numpy. Run anywhere.
"""

import hashlib

import cv2
import numpy as np

state = 1


def below(limit):
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    return (state >> 33) % limit


digest = hashlib.sha256()
for _ in range(3000):
    width, height = 1 + below(60), 1 + below(60)
    count, spread = 1 + below(9), 1 + below(120)
    points = []
    for _ in range(count):
        x = below(width + 2 * spread) - spread
        points.append((x, below(height + 2 * spread) - spread))
    mask = np.zeros((height, width), np.uint8)
    # The reference draws the outline first, which fillPoly draws as well.
    cv2.polylines(mask, np.array([points], np.int32), True, 1, 1)
    cv2.fillPoly(mask, np.array([points], np.int32), 1)
    digest.update(mask.tobytes())
print(digest.hexdigest())
