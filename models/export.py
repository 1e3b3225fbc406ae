"""Exports the models of the zoo to ONNX, as their users do: with both exporters of PyTorch, several opsets, fixed and free batch.

  python models/export.py mobilenetv2_100                                     # models/zoo/mobilenetv2_100.torchscript.opset17.dyn.onnx
  python models/export.py deit_tiny_patch16_224 --exporter torchscript dynamo --opset 13 18 --batch batch 3
  python models/export.py zoo --jobs 8                                        # every model of the zoo; also: held-out, all
  python models/export.py --list

Needs torch, timm, onnx and onnxscript, which the rest of the project does not. Weights are random (models/random_weights.py), or the
pretrained ones where --weights asks for them and the model hub answers. Files that exist are kept unless --force is given. An exporter that
cannot write the opset asked for is reported, and the exit code is 3 when only such reports were made.
"""

import argparse
import concurrent.futures
import importlib
import itertools
import json
import math
import os
import pathlib
import subprocess
import sys
import warnings

import zoo

try:
    import onnx
    import timm
    import torch
except ImportError as error:
    sys.exit(f"models/export.py needs torch, timm, onnx and onnxscript: {error}")

import pictures
import random_weights
from architectures import common

TORCHSCRIPT_OPSETS = range(7, 21)
DEFAULT_OPSET = {"torchscript": 17, "dynamo": 18}
ATTENTION_OPSET = 14  # the first to which TorchScript writes scaled_dot_product_attention
CALIBRATION_BATCH = 32
CLASSES = 1000  # of random weights, whatever the trained ones have


class ExportError(RuntimeError):
    """The exporter does not write this form of the model; the text says why."""


def groups(manifest):
    """Names of models by group: zoo, held-out."""
    return {group: list(models) for group, models in manifest["export"].items()}


def description_of(name, manifest):
    """What the manifest says of a model; a name that it does not know is one of timm's."""
    for models in manifest["export"].values():
        if name in models:
            return models[name]
    if timm.is_model(name):
        return {"from": "timm"}
    raise zoo.ZooError(f"unknown model {name!r}; known: {', '.join(itertools.chain(*manifest['export'].values()))}, and every name of timm")


def create_timm(name, weights, exportable):
    """The network and whether its weights are trained ones."""
    arguments = {"exportable": True} if exportable else {}
    if weights != "random":
        try:
            return timm.create_model(name, pretrained=True, **arguments), True
        except Exception as error:  # every kind of network trouble
            if weights == "pretrained":
                raise zoo.ZooError(f"{name}: no pretrained weights: {error}") from error
    return timm.create_model(name, pretrained=False, num_classes=CLASSES, **arguments), False


def create_torchvision(name):
    """The same for a model of torchvision, random weights alone, with its data configuration."""
    import torchvision

    return torchvision.models.get_model(name, weights=None), False, common.config(224, common.IMAGENET)


def create(name, description, weights="random", exportable=False, reparameterise=False, seed=0):
    """(network in eval mode, data configuration as timm's, with the `layout` of the input where it is not nchw)"""
    if description["from"] == "timm":
        model, trained = create_timm(description.get("name", name), weights, exportable)
        config = timm.data.resolve_model_data_config(model)
    elif description["from"] == "torchvision":
        model, trained, config = create_torchvision(description["name"])
    else:
        module = importlib.import_module(f"architectures.{description['from']}")
        model, trained = module.create(name), False
        config = module.data_config(name)
    if not trained:
        random_weights.randomise(model, name, seed)
        random_weights.calibrate(model, in_layout(torch.from_numpy(pictures.pictures(CALIBRATION_BATCH, config["input_size"][-1], seed)), config))
    if reparameterise:
        model = timm.utils.reparameterize_model(model)
    return model.eval(), config


def in_layout(images, config):
    """Images [n, 3, side, side] in the layout of the network's input."""
    return images.permute(0, 2, 3, 1) if config.get("layout") == "nhwc" else images


def preprocess_of(config):
    """The `fcm.preprocess` of a data configuration of timm."""
    side = config["input_size"][-1]
    return {
        "resize": max(side, math.floor(side / config["crop_pct"])),
        "crop": side,
        "interpolation": config["interpolation"],
        "mean": [255.0 * value for value in config["mean"]],
        "std": [255.0 * value for value in config["std"]],
        "range": 255,
    }


def export_torchscript(model, example, opset, dynamic, path):
    if opset not in TORCHSCRIPT_OPSETS:
        raise ExportError(f"the TorchScript exporter writes opsets {TORCHSCRIPT_OPSETS.start} to {TORCHSCRIPT_OPSETS.stop - 1}")
    axes = {"input": {0: "batch"}, "logits": {0: "batch"}} if dynamic else None
    torch.onnx.export(
        model, (example,), str(path), dynamo=False, opset_version=opset, input_names=["input"], output_names=["logits"], dynamic_axes=axes
    )


def export_dynamo(model, example, opset, dynamic, path):
    shapes = ({0: torch.export.Dim("batch", min=1, max=1024)},) if dynamic else None
    program = torch.onnx.export(
        model, (example,), dynamo=True, opset_version=opset, input_names=["input"], output_names=["logits"], dynamic_shapes=shapes,
        verbose=False,
    )
    program.save(str(path), external_data=False)


EXPORTERS = {"torchscript": export_torchscript, "dynamo": export_dynamo}


def file_name(name, exporter, opset, batch):
    return f"{name}.{exporter}.opset{opset}.{f'fixed{batch}' if isinstance(batch, int) else 'dyn'}.onnx"


def finish(path, opset, metadata):
    """Checks what the exporter wrote and adds the metadata."""
    model = onnx.load(path)
    written = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if written != opset:
        raise ExportError(f"the exporter writes opset {written} where {opset} was asked for")
    onnx.helper.set_model_props(model, {**{p.key: p.value for p in model.metadata_props}, **metadata})
    path.write_bytes(model.SerializeToString(deterministic=True))


def export(name, exporter, opset, batch, output, options):
    """Writes one file: complete or not at all. Throws ExportError, zoo.ZooError."""
    manifest = zoo.load_manifest()
    description = description_of(name, manifest)
    exportable = options.exportable or (exporter == "torchscript" and opset < ATTENTION_OPSET)
    model, config = create(name, description, options.weights, exportable, options.reparameterise, options.seed)
    # torch.export takes a batch of one for a constant.
    example = in_layout(torch.randn((batch if isinstance(batch, int) else 2, *config["input_size"])), config)
    metadata = {"fcm.preprocess": json.dumps(preprocess_of(config), sort_keys=True),
                "fcm.source": f"models/export.py {name}, {exporter} of torch {torch.__version__}, timm {timm.__version__}"}
    if getattr(model, "num_classes", CLASSES) == CLASSES:
        metadata["fcm.labels"] = zoo.read_labels("imagenet", manifest).rstrip("\n")
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with torch.no_grad():
            EXPORTERS[exporter](model, example, opset, not isinstance(batch, int), temporary)
        finish(temporary, opset, metadata)
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)


def export_one(name, exporter, opset, batch, output, options):
    """0 and a line on stdout, or 2 or 3 and a line on stderr."""
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    try:
        export(name, exporter, opset, batch, output, options)
    except ExportError as error:
        print(f"{output.name}: {error}", file=sys.stderr)
        return 3
    except Exception as error:  # whatever the exporters throw
        lines = [line for line in str(error).splitlines() if line.strip()] or [""]
        print(f"{output.name}: {type(error).__name__}: {lines[0][:300]}", file=sys.stderr)
        return 3 if "torch" in type(error).__module__ else 2
    print(output, flush=True)
    return 0


def run_child(arguments, options):
    """One export in a process of its own: exporters keep memory and print much."""
    name, exporter, opset, batch, output = arguments
    command = [sys.executable, __file__, name, "--exporter", exporter, "--opset", str(opset), "--batch", str(batch), "--output", str(output.parent),
               "--weights", options.weights, "--seed", str(options.seed), "--threads", str(options.threads), "--in-process", "--force"]
    command += [flag for flag, wanted in (("--exportable", options.exportable), ("--reparameterise", options.reparameterise)) if wanted]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        print(output, flush=True)
    else:
        lines = [line for line in result.stderr.splitlines() if line.startswith(output.name)] or result.stderr.splitlines()[-1:]
        print("\n".join(lines), file=sys.stderr, flush=True)
    return result.returncode


def parse_arguments(arguments, manifest):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"names, or a group: {', '.join(manifest['export'])}, all")
    parser.add_argument("--exporter", nargs="+", default=["torchscript"], choices=sorted(EXPORTERS))
    parser.add_argument("--opset", nargs="+", type=int, help="default: 17 with torchscript, 18 with dynamo")
    parser.add_argument("--batch", nargs="+", default=["batch"], help="numbers, or `batch` for a free one (default)")
    parser.add_argument("--weights", default="random", choices=("random", "pretrained", "auto"), help="auto: pretrained if the hub answers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exportable", action="store_true", help="timm's export mode: attention spelled out (TorchScript gets it below opset 14 in any case)")
    parser.add_argument("--reparameterise", action="store_true", help="merge parallel branches before exporting")
    parser.add_argument("--output", type=pathlib.Path, default=zoo.FOLDER / "zoo", help="folder")
    parser.add_argument("--jobs", type=int, default=1, help="exports at the same time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each")
    parser.add_argument("--force", action="store_true", help="write files again that exist")
    parser.add_argument("--list", action="store_true", help="the models by group")
    parser.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.batch = [int(text) if text.isdigit() else "batch" for text in options.batch]
    if 0 in options.batch:
        parser.error("--batch must be at least 1")
    return options


def expand(names, manifest):
    known = groups(manifest)
    known["all"] = list(itertools.chain(*known.values()))
    return list(itertools.chain(*(known.get(name, [name]) for name in names)))


def main(arguments=None):
    manifest = zoo.load_manifest()
    options = parse_arguments(arguments, manifest)
    if options.list or not options.models:
        for group, names in groups(manifest).items():
            print(f"{group}: {' '.join(names)}")
        return 0
    wanted = []
    try:
        for name, exporter, batch in itertools.product(expand(options.models, manifest), options.exporter, options.batch):
            description_of(name, manifest)
            for opset in options.opset or [DEFAULT_OPSET[exporter]]:
                output = options.output / file_name(name, exporter, opset, batch)
                if options.force or not output.exists():
                    wanted.append((name, exporter, opset, batch, output))
    except zoo.ZooError as error:
        print(error, file=sys.stderr)
        return 2
    if options.in_process or len(wanted) == 1:
        codes = [export_one(*arguments, options) for arguments in wanted]
    else:
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            codes = list(pool.map(lambda arguments: run_child(arguments, options), wanted))
    return 2 if 2 in codes or any(code not in (0, 3) for code in codes) else max(codes, default=0)


if __name__ == "__main__":
    sys.exit(main())
