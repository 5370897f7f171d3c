"""Cases of colours as shades of grey, of the form of goldens/gray.jsonl, on stdout: by Pillow itself and by TensorFlow's weights.

    pip install numpy pillow
    python papers/long_range_arena/gray_cases.py > papers/long_range_arena/goldens/gray_pillow.jsonl
"""

import json

import numpy
from PIL import Image

WEIGHTS = numpy.array([0.2989, 0.5870, 0.1140])  # tf.image.rgb_to_grayscale


def main():
    colours = numpy.random.default_rng(7).integers(0, 256, (200, 3), dtype=numpy.uint8)
    # Every channel by itself, and what lies on either side of a rounding.
    colours = numpy.concatenate([colours, 51 * numpy.eye(3, dtype=numpy.uint8), [[127, 128, 127], [128, 127, 128]]]).astype(numpy.uint8)
    levels = numpy.array(Image.fromarray(colours[None], "RGB").convert("L"))[0]
    for colour, level in zip(colours, levels):
        print(json.dumps({"rgb": colour.tolist(), "pil_L": int(level), "weighted_float": float(colour / 255 @ WEIGHTS)}))


if __name__ == "__main__":
    main()
