# SPDX-License-Identifier: Apache-2.0
"""Made-up inputs against codec, prompts, clicks, camera_info and image handler; `make fuzz` runs it."""

import argparse
import os
import random
import sys
import time
import warnings

from fuzz_checks import Handlers, check_file, check_raw
from fuzz_inputs import make_click, make_file, make_image, make_info, make_prompt, make_raw
from tqdm import tqdm


def targets():
    """Name -> (maker, check, share of the inputs)."""
    handlers = Handlers()
    return {
        "raw image": (make_raw, check_raw, 0.35),
        "compressed image": (make_file, check_file, 0.25),
        "prompt": (make_prompt, handlers.check_prompt, 0.1),
        "click": (make_click, handlers.check_click, 0.1),
        "camera_info": (make_info, handlers.check_info, 0.1),
        "image through the session": (make_image, handlers.check_image, 0.1),
    }


def run(inputs, seed, progress=False):
    """Give every target its share of the inputs; returns lines of figures.  A failing input is named by its seed."""
    warnings.simplefilter("ignore", RuntimeWarning)
    lines = []
    made = targets()
    for name, (make, check, share) in made.items():
        count, good, began = round(inputs * share), 0, time.perf_counter()
        for i in tqdm(range(count), desc=name, unit="input", mininterval=5, file=sys.stdout, disable=not progress):
            rng = random.Random(f"{seed} {name} {i}")
            given = make(rng)
            try:
                good += check(given)
            except Exception as error:
                raise AssertionError(f"{name}, input {seed}/{i}: {type(error).__name__}: {error}; {given}") from error
        seconds = time.perf_counter() - began
        lines.append(
            f"{name:28}{count:9} inputs {good:9} taken {count - good:9} refused {count / max(seconds, 1e-9):9.0f}/s"
        )
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # libpng and libjpeg say on standard error what they think of each picture.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        print("\n".join(run(options.inputs, options.seed, progress=True)))
    except AssertionError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
