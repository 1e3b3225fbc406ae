"""The main job, end to end: EfficientNet-Lite0 with its real weights on 101 photographs, through fcm-infer.

Checks the classes and logits against the answers of the FP32 model in expected_efficientnet_lite0.csv (Pillow's decoder and resize), that
every batch size gives an image the answer that it has alone, that two runs give the same bits, and that an image takes less than half a
second. Exits with 77 (skipped) where the photographs are not there.

    lite0.py FCM_INFER SHARED [--device cpu|cuda] [--precision fp32|fp16] [--batches 1,3,8,101] [--model FILE]
"""

import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy

SKIPPED = 77
# Of 101, and the largest difference of a logit: what each precision must reach.
LIMITS = {"fp32": (101, 0.05), "fp16": (100, None), "bf16": (96, None)}
# Largest difference between batches, relative to the output's maximum.
BATCH_TOLERANCE = {"fp32": 1e-4, "fp16": 2e-3, "bf16": 1.6e-2}
# Below this margin between the first two classes a batch may order them differently.
MARGIN = 0.02
# What an image may take (the median), on two cores of a machine that is not otherwise idle.
MOST_SECONDS = 0.5


def infer(args, images, batch, folder):
    command = [args.fcm_infer, args.model, *images, "--device", args.device, "--precision", args.precision, "--preset", "lite"]
    command += ["--batch", str(batch), "--json", "--save", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(command[:2])} ... exited with {result.returncode}:\n{result.stderr[-2000:]}")
    document = json.loads(result.stdout)
    answers = {}
    for group in document["groups"]:
        for item in group["results"]:
            answers[pathlib.Path(item["input"]).name] = item
    outputs = [numpy.load(file) for file in sorted(pathlib.Path(folder).glob("*.npy"))]
    assert len(outputs) == 1, f"one output expected, {len(outputs)} saved"
    return document, answers, outputs[0]


def check_answers(args, answers, expected):
    """Top-1 and the five logits against the table; returns how many checks failed."""
    needed, tolerance = LIMITS[args.precision]
    right, worst = 0, 0.0
    for row in expected:
        classes = answers[row["file"]]["classes"]
        right += classes[0]["index"] == int(row["top1"])
        for k in range(5):
            worst = max(worst, abs(classes[k]["score"] - float(row[f"logit{k + 1}"])))
    finite = all(item["nonfinite"] == 0 for item in answers.values())
    print(f"top-1 equal on {right} of {len(expected)} (needed {needed}), largest logit difference {worst:.4f}, all finite: {finite}")
    return (right < needed) + (tolerance is not None and worst > tolerance) + (not finite)


def check_time(document, batch):
    """The median time of an image in the first run; returns whether it is too long."""
    seconds = statistics.median(group["us"]["compute"] for group in document["groups"]) / 1e6 / batch
    print(f"an image takes {seconds * 1e3:.1f} ms (median; at most {MOST_SECONDS * 1e3:.0f})")
    return seconds > MOST_SECONDS


def check_batch(args, batch, alone, together):
    """Each image's outputs alone and in a batch; returns whether they differ too much."""
    difference = float(numpy.abs(alone - together).max() / numpy.abs(alone).max())
    best = numpy.sort(alone, axis=1)
    clear = best[:, -1] - best[:, -2] > MARGIN
    flips = int((alone.argmax(1) != together.argmax(1))[clear].sum())
    print(f"batch {batch}: largest difference from alone {difference:.2e} of the maximum, top-1 flips beyond the margin: {flips}")
    return difference > BATCH_TOLERANCE[args.precision] or flips > 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fcm_infer")
    parser.add_argument("shared", type=pathlib.Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=sorted(LIMITS))
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--model")
    args = parser.parse_args()
    table = args.shared / "images" / "expected_efficientnet_lite0.csv"
    if not table.is_file():
        print(f"skipped: {table} is not there")
        return SKIPPED
    args.model = args.model or str(args.shared / "models" / "efficientnet_lite0.onnx")
    if not pathlib.Path(args.model).is_file():
        print(f"skipped: {args.model} is not there")
        return SKIPPED
    with open(table, newline="", encoding="utf-8") as file:
        expected = list(csv.DictReader(file))
    images = [str(args.shared / "images" / row["file"]) for row in expected]

    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        batches = [int(text) for text in args.batches.split(",")]
        document, answers, alone = infer(args, images, batches[0], scratch)
        print(f"{document['device']}, {args.precision}, {len(images)} photographs")
        failures += check_answers(args, answers, expected)
        failures += check_time(document, batches[0])
        again = infer(args, images[:16], batches[0], scratch)[2]
        same = again.tobytes() == alone[:16].tobytes()
        print(f"two runs give the same bits: {same}")
        failures += not same
        for batch in batches[1:]:
            failures += check_batch(args, batch, alone, infer(args, images, batch, scratch)[2])
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
