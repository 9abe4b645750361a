//! Bitmaps, COCO RLE, polygons.
