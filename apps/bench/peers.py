"""The same models on what else would run them, beside ours, measured in turn in one process on one card.

  python apps/bench/peers.py mobilenetv2_100                                  # batch 1, FP16; writes peers.json
  python apps/bench/peers.py mobilenetv2_100 deit_tiny_patch16_224 --batch 1,8,64 --precision fp16,fp32 --energy
  python apps/bench/peers.py mobilenetv2_100 --contenders fcm,inductor        # a choice of them
  fcm-bench mobilenetv2_100.onnx --peers peers.json --html page.html          # beside a measurement of fcm-bench

Models are names of models/export.py (weights random from a seed, activations near unit scale), exported to ONNX on the spot. Contenders:
fcm, fcm-nofuse, fcm-tune; eager (PyTorch, channels_last, cuDNN autotuned) and inductor, inductor-max (torch.compile), each under a CUDA graph;
ort-cuda and ort-trt (ONNX Runtime), tensorrt, tvm. One that is not installed or fails is written down as missing, with the reason.

Times are medians of 7 rounds of up to 200 runs back to back between CUDA events, contenders in turn round by round, and of single synchronised
runs. Inputs are the same numbers: ours as FP32 NCHW, PyTorch's already in its precision and layout. Outputs are compared with FP32 eager.
Cells that the output file has are kept; a cell that failed is tried again. Needs torch and timm, and a GPU.
"""

import argparse
import pathlib
import sys

import driver

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONTENDERS = ("fcm", "fcm-nofuse", "fcm-tune", "eager", "inductor", "inductor-max", "ort-cuda", "ort-trt", "tensorrt", "tvm")
DEFAULT = tuple(name for name in CONTENDERS if name != "fcm-tune")
PRECISIONS = ("fp16", "bf16", "fp32", "tf32")


def one_of(known):
    def parse(text):
        parts = [part for part in text.split(",") if part]
        unknown = [part for part in parts if part not in known]
        if unknown or not parts:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'}: accepted are {', '.join(known)}")
        return parts

    return parse


def numbers(text):
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: accepted are numbers separated by commas") from error
    if min(values) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a batch is at least 1")
    return values


def add_options(parser):
    """What peers.py and sweep.py share."""
    parser.add_argument("--batch", type=numbers, default=[1], help="batch sizes, separated by commas (default: 1)")
    parser.add_argument("--precision", type=one_of(PRECISIONS), default=["fp16"], help=f"{', '.join(PRECISIONS)} (default: fp16)")
    parser.add_argument("--contenders", type=one_of(CONTENDERS), default=list(DEFAULT), help=f"default: {','.join(DEFAULT)}")
    parser.add_argument("--energy", action="store_true", help="also energy: at least 2 s a contender")
    parser.add_argument("--energy-batches", type=numbers, help="only at these batch sizes (default: all)")
    parser.add_argument("--jobs", type=int, default=4, help="cells that prepare at the same time (default: 4)")
    parser.add_argument("--seconds", type=float, help="start nothing later, and give up what is not prepared by then")
    parser.add_argument("--library", type=pathlib.Path, help="libfcm.so (default: the release build's)")
    parser.add_argument("--onnx-folder", type=pathlib.Path, default=ROOT / "models/zoo/peers", help="where exported models are kept")
    parser.add_argument("--log", type=pathlib.Path, help="where the frameworks' own messages go (default: standard error)")


def find_library(options, parser):
    """The library as a path; a usage error without one."""
    if options.library is not None:
        if not options.library.is_file():
            parser.error(f"--library: '{options.library}' is no file")
        return options.library
    found = sorted((ROOT / "build/release").rglob("libfcm.so"))
    if not found:
        parser.error("no libfcm.so below build/release: build it, or name it with --library")
    return found[0]


def make_cells(models, options, library):
    cells = []
    for precision in options.precision:
        for model in models:
            for batch in options.batch:
                energy = options.energy and batch in (options.energy_batches or options.batch)
                cells.append({"model": model, "batch": batch, "precision": precision, "contenders": options.contenders, "energy": energy,
                              "library": str(library), "onnx_folder": str(options.onnx_folder)})
    return cells


def run(models, options, parser, output):
    cells = make_cells(models, options, find_library(options, parser))
    output.parent.mkdir(parents=True, exist_ok=True)
    if options.log is None:
        return driver.run_cells(cells, output, options.jobs, options.seconds)
    with options.log.open("a", encoding="utf-8") as log:
        return driver.run_cells(cells, output, options.jobs, options.seconds, log=log)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="names of models/export.py --list, or of timm")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("peers.json"), help="default: peers.json")
    add_options(parser)
    options = parser.parse_args(arguments)
    document = run(options.models, options, parser, options.output)
    wanted = set(options.models)
    return 1 if any("failed" in r for r in document["results"] if r["model"] in wanted) else 0


if __name__ == "__main__":
    sys.exit(main())
