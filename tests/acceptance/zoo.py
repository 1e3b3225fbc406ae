"""Checks exported models against ONNX Runtime and writes a table.

  zoo.py build/release/apps/fcm-infer models/zoo/*.onnx --jobs 2 --results build/zoo
  zoo.py build/release/apps/fcm-infer models/zoo --device cuda --results build/zoo      # FP32 fused and unfused, FP16
  zoo.py build/release/apps/fcm-infer models/zoo --device cuda --distinct --results build/zoo
  zoo.py build/release/apps/fcm-infer models/zoo --digests --results build/zoo
  zoo.py --results build/zoo --table docs/zoo.md

Four random pictures go through in runs of three and one. On the CPU the largest error must be within 1e-4 of the largest output of ONNX
Runtime's CPU provider, on the GPU within 1e-3 in FP32, fused and not, and FP16 must be finite and have a cosine of at least 0.999 with it.
Results are kept as one JSON file a model and device, and are made anew when the model or the program is newer; several processes can share a
folder.

A result holds what `fcm-plan --digest` (the program beside fcm-infer) says of the model: forms of one digest are the same graph after the
passes, hence the same steps with the same kernels, and differ at most in the last digits of weights that an exporter folded. --distinct runs
one form of each graph. In the table, numbers of a form stand for all forms of its graph. Needs numpy and onnxruntime (which no other part of the project needs); exit code 1 when a model fails.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "models"))
import pictures  # noqa: E402

IMAGES = 4
BATCH = 3
SEED = 5
LIMIT = {"cpu": 1e-4, "cuda": 1e-3}
MIN_COSINE = 0.999
TIMEOUT_S = 900
FILE = re.compile(r"(?P<model>.+)\.(?P<exporter>torchscript|dynamo)\.opset(?P<opset>\d+)\.(?P<batch>dyn|fixed\d+)\.onnx$")
# By device: name of the run, options of fcm-infer.
RUNS = {
    "cpu": {"fp32": []},
    "cuda": {"fp32": ["--precision", "fp32"], "fp32-unfused": ["--precision", "fp32", "--no-fuse"], "fp16": ["--precision", "fp16"],
             "fp16-unfused": ["--precision", "fp16", "--no-fuse"]},
}


def images_for(shape):
    """FP32 [IMAGES, *shape], where `shape` is CHW or HWC."""
    channels_last = shape[-1] == 3
    images = pictures.pictures(IMAGES, shape[1], SEED)
    return numpy.ascontiguousarray(images.transpose(0, 2, 3, 1)) if channels_last else images


def expected(model):
    """(inputs, output of ONNX Runtime); a model of a fixed batch runs as often as it takes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    images = images_for(tuple(port.shape[1:]))
    step = port.shape[0] if isinstance(port.shape[0], int) else IMAGES
    outputs = []
    for first in range(0, IMAGES, step):
        batch = images[first : first + step]
        filled = numpy.concatenate([batch, numpy.repeat(batch[:1], step - len(batch), 0)])
        outputs.append(session.run(None, {port.name: filled})[0][: len(batch)])
    return images, numpy.concatenate(outputs)


def infer(program, model, images, device, options):
    """(output, document of fcm-infer) or a text that says what went wrong."""
    with tempfile.TemporaryDirectory() as scratch:
        numpy.save(f"{scratch}/in.npy", images)
        command = [program, str(model), f"{scratch}/in.npy", "--batch", str(BATCH), "--device", device, "--json", "--save", f"{scratch}/out", *options]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"no answer within {TIMEOUT_S} s"
        if result.returncode != 0:
            return f"exit code {result.returncode}: {result.stderr.strip()[:2000]}"
        files = sorted(pathlib.Path(scratch, "out").glob("*.npy"))
        return numpy.load(files[0]).astype(numpy.float32), json.loads(result.stdout)


def compare(output, wanted):
    """Numbers of one run, and what is wrong with them."""
    if output.shape != wanted.shape:
        return {"failure": f"shape {output.shape} instead of {wanted.shape}"}
    finite = bool(numpy.isfinite(output).all())
    a, b = output.astype(numpy.float64), wanted.astype(numpy.float64)
    cosines = (a * b).sum(1) / numpy.sqrt((a * a).sum(1) * (b * b).sum(1))
    return {"error": float(numpy.abs(a - b).max() / numpy.abs(b).max()) if finite else None, "cosine": float(cosines.min()) if finite else None}


def judge(numbers, run, device):
    """What is wrong with the numbers of a run; empty when nothing is."""
    if "failure" in numbers:
        return numbers["failure"]
    if numbers["error"] is None:
        return "not finite"
    if run.startswith("fp16"):
        return "" if numbers["cosine"] >= MIN_COSINE else f"cosine {numbers['cosine']:.5f}"
    return "" if numbers["error"] <= LIMIT[device] else f"error {numbers['error']:.2e} of the largest output"


def digest(program, model):
    """What identifies the model's graph after the passes, weights left out; None where it cannot be read."""
    batch = FILE.match(model.name)["batch"] if FILE.match(model.name) else "dyn"
    command = [str(pathlib.Path(program).with_name("fcm-plan")), str(model), "--digest"]
    command += ["--batch", str(BATCH)] if batch.startswith("fixed") else []  # as it is run here: freed
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.split()[1] if result.returncode == 0 else None


def check(program, model, device, runs):
    """The result of one model on one device, as it is stored."""
    result = {"file": model.name, "device": device, "graph": digest(program, model), "runs": {}, "failures": {}}
    try:
        images, wanted = expected(model)
    except Exception as error:  # ONNX Runtime refuses models in many ways
        result["failures"]["reference"] = str(error)[:300]
        return result
    for run, options in RUNS[device].items():
        if run not in runs:
            continue
        answer = infer(program, model, images, device, options)
        numbers = {"failure": answer} if isinstance(answer, str) else compare(answer[0], wanted)
        if not isinstance(answer, str):
            numbers["steps"] = answer[1].get("steps")
        result["runs"][run] = numbers
        if failure := judge(numbers, run, device):
            result["failures"][run] = failure
    return result


def path_of_result(folder, model, device):
    return folder / f"{model.name.removesuffix('.onnx')}.{device}.json"


def up_to_date(path, program, model):
    return path.exists() and path.stat().st_mtime > max(os.stat(program).st_mtime, model.stat().st_mtime)


def check_and_store(program, model, device, runs, folder):
    result = check(program, model, device, runs)
    store(result, path_of_result(folder, model, device))
    return result


def store(result, path):
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def add_digests(program, models, folder, pool):
    """Digests into results that have none."""
    for model, graph in zip(models, pool.map(lambda model: digest(program, model), models)):
        for device in RUNS:
            path = path_of_result(folder, model, device)
            if path.exists():
                store({**json.loads(path.read_text(encoding="utf-8")), "graph": graph}, path)


def distinct(program, models, pool):
    """One model of each graph: the first."""
    first = {}
    for model, graph in zip(models, pool.map(lambda model: digest(program, model), models)):
        first.setdefault(graph or model.name, model)
    return list(first.values())


def summary(result):
    """One line."""
    parts = []
    for run, numbers in result["runs"].items():
        if "failure" not in numbers and numbers["error"] is not None:
            value = f"cosine {numbers['cosine']:.5f}" if run.startswith("fp16") else f"{numbers['error']:.1e}"
            parts.append(f"{run} {value}" + (f" {numbers['steps']} steps" if numbers.get("steps") else ""))
    wrong = [f"{run}: {text}" for run, text in result["failures"].items()]
    return f"{'FAILED' if wrong else 'ok    '} {result['file']} [{result['device']}] {'; '.join(parts + wrong)}"


def collect(arguments):
    models = []
    for argument in arguments:
        path = pathlib.Path(argument)
        if not path.exists():
            sys.exit(f"{path} is not there")
        models += sorted(path.glob("*.onnx")) if path.is_dir() else [path]
    return models


class Results:
    """All results of a folder, by form and by graph."""

    def __init__(self, folder):
        self.forms = {}  # match of FILE, by file name
        self.by_form = {}  # (file name, device) -> result
        self.graph = {}  # file name -> digest
        self.ran = {}  # digest -> results of the GPU
        for path in sorted(folder.rglob("*.json")):
            result = json.loads(path.read_text(encoding="utf-8"))
            match = FILE.match(result["file"])
            if match:
                self.forms[result["file"]] = match
                self.by_form[result["file"], result["device"]] = result
                self.graph.setdefault(result["file"], result.get("graph"))
        for (name, device), result in self.by_form.items():
            if device == "cuda" and self.graph[name] is not None:
                self.ran.setdefault(self.graph[name], []).append(result)

    def on_gpu(self, name):
        """(results that say how the form does on the GPU, whether they are its own)"""
        own = self.by_form.get((name, "cuda"))
        return ([own], True) if own else (self.ran.get(self.graph[name], []), False)

    def failed(self, name):
        results = [self.by_form.get((name, "cpu")), *self.on_gpu(name)[0]]
        return any(result["failures"] for result in results if result)

    def text_of_form(self, name):
        text = self.forms[name]["opset"] + ("" if self.on_gpu(name)[0] else " (CPU)") + ("" if (name, "cpu") in self.by_form else " (GPU)")
        return f"**{text} fails**" if self.failed(name) else text

    def row(self, names):
        """Cells of the forms of a model and exporter."""
        batches = {}
        for name in sorted(names, key=lambda name: int(self.forms[name]["opset"])):
            batches.setdefault(self.forms[name]["batch"], []).append(self.text_of_form(name))
        text = "; ".join(f"{batch} {', '.join(forms)}" for batch, forms in sorted(batches.items()))
        cpu = [self.by_form[name, "cpu"] for name in names if (name, "cpu") in self.by_form]
        found = [self.on_gpu(name) for name in names]
        gpu = [result for results, _ in found for result in results]
        own = any(results and is_own for results, is_own in found)
        return [text, worst(cpu, "fp32"), *(("" if own or not cell else "= ") + cell for cell in cells(gpu))]

    def counts(self):
        covered = [name for name in self.forms if self.on_gpu(name)[0]]
        own = [name for name in self.forms if (name, "cuda") in self.by_form]
        on_cpu = [name for name in self.forms if (name, "cpu") in self.by_form]
        graphs = {self.graph[name] or name for name in self.forms}
        models = {match["model"] for match in self.forms.values()}
        return (f"{len(self.forms)} forms of {len(models)} models are {len(graphs)} graphs after the passes. {len(on_cpu)} forms ran on the CPU; "
                f"{len(own)} ran on the GPU, and {len(covered) - len(own)} more are the graph of one that did.\n")


def table(folder):
    """Markdown: counts, and a row a model and exporter."""
    results = Results(folder)
    rows = {}
    for name, match in results.forms.items():
        rows.setdefault((match["model"], match["exporter"]), []).append(name)
    lines = ["| model | exporter | opsets, batch | CPU | GPU FP32 | GPU FP32 unfused | GPU FP16 | steps fused, unfused |", "|---|---|---|---|---|---|---|---|"]
    lines += [f"| {model} | {exporter} | " + " | ".join(results.row(names)) + " |" for (model, exporter), names in sorted(rows.items())]
    return results.counts() + "\n" + "\n".join(lines) + "\n"


def numbers(results, run, key):
    found = [result["runs"][run].get(key) for result in results if run in result["runs"]]
    return [value for value in found if value is not None]


def worst(results, run):
    """The worst number of a kind of run, as text."""
    if any(result["runs"].get(run, {}).get("error", 0) is None for result in results):
        return "**not finite**"
    if run.startswith("fp16"):
        return f"{min(numbers(results, run, 'cosine')):.5f}" if numbers(results, run, "cosine") else ""
    return f"{max(numbers(results, run, 'error')):.0e}" if numbers(results, run, "error") else ""


def cells(gpu):
    """The worst numbers of results of the GPU, and steps."""
    steps = [max(numbers(gpu, run, "steps"), default=None) for run in ("fp16", "fp16-unfused")]
    return [worst(gpu, "fp32"), worst(gpu, "fp32-unfused"), worst(gpu, "fp16"), ", ".join(str(value) for value in steps if value is not None)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fcm_infer", nargs="?")
    parser.add_argument("models", nargs="*", help="ONNX files, or folders of them")
    parser.add_argument("--device", default="cpu", choices=sorted(RUNS))
    parser.add_argument("--runs", nargs="+", help="some of: fp32 fp32-unfused fp16 fp16-unfused (default: all that the device has)")
    parser.add_argument("--results", type=pathlib.Path, required=True, help="folder of the JSON files")
    parser.add_argument("--jobs", type=int, default=1, help="models at the same time")
    parser.add_argument("--distinct", action="store_true", help="of models that are one graph after the passes run the first alone")
    parser.add_argument("--digests", action="store_true", help="run nothing; add the graph's digest to the results of the models")
    parser.add_argument("--table", type=pathlib.Path, help="replace the table in this Markdown file by that of all results")
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    failed = 0
    models = collect(arguments.models)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        if arguments.digests:
            add_digests(arguments.fcm_infer, models, arguments.results, pool)
            models = []
        if arguments.distinct:
            models = distinct(arguments.fcm_infer, models, pool)
        jobs = []
        for model in models:
            path = path_of_result(arguments.results, model, arguments.device)
            if up_to_date(path, arguments.fcm_infer, model):
                failed += bool(json.loads(path.read_text(encoding="utf-8"))["failures"])
            else:
                jobs.append(pool.submit(check_and_store, arguments.fcm_infer, model, arguments.device, arguments.runs or RUNS[arguments.device], arguments.results))
        for job in concurrent.futures.as_completed(jobs):
            failed += bool(job.result()["failures"])
            print(summary(job.result()), flush=True)
    if arguments.table:
        replace_table(arguments.table, table(arguments.results))
    print(f"{failed} models fail" if failed else "all models pass")
    return 1 if failed else 0


def replace_table(path, text):
    """Puts `text` between the two marks of the Markdown file."""
    before, _, rest = path.read_text(encoding="utf-8").partition("<!-- table -->\n")
    after = rest.partition("<!-- end of table -->")[2]
    path.write_text(f"{before}<!-- table -->\n{text}<!-- end of table -->{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
