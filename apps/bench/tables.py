"""docs/benchmarks.md from what was recorded: nothing in its tables is typed by hand.

  cd docs/benchmarks && python ../../apps/bench/tables.py cells.json --wanted first zoo --modules modules_*.json --traffic traffic_*.json --repeat repeat_1.json repeat_2.json \\
    --output ../benchmarks.md

CELLS are files of peers.py or sweep.py, --wanted models that are named where no cell has them, --energy such files whose energies stand in place of theirs, --modules of `fcm-bench --modules ... --json FILE`, --traffic of tests/gpu/traffic.sh.
"""

import argparse
import json
import math
import pathlib
import statistics
import sys

import driver
import sweep

ABSENT = "—"
UNSTEADY = 0.05
BATCHES = (1, 8, 64)
OURS = ("fcm", "fcm-nofuse", "fcm-tune")
PEERS = ("eager", "inductor", "inductor-max", "ort-cuda", "ort-trt", "tensorrt", "tvm")
TITLES = {
    "fcm": "FCM", "fcm-nofuse": "not fused", "fcm-tune": "FCM `--tune`", "eager": "eager", "inductor": "Inductor", "inductor-max": "Inductor max",
    "ort-cuda": "ORT CUDA", "ort-trt": "ORT TensorRT", "tensorrt": "TensorRT", "tvm": "TVM",
}

METHOD = """## Method

- A row is one process on one card: every contender prepares, then they are measured in turn, round by round, so that a drift of the clocks
  meets all alike. Peers are those of the row's own run; rows may come from different runs and days.
- A time is the median of 7 rounds of up to 200 runs back to back between two CUDA events (fewer runs where a round would pass 0.1 s), per run.
  A single synchronised run is 2 to 10 % longer; the JSON has it.
- PyTorch runs in channels_last with cuDNN autotuned, captured as a CUDA graph; Inductor is `torch.compile`, captured likewise. Ours is one CUDA
  graph a batch, driven through the C API on the caller's stream. Input numbers are the same: ours as FP32 NCHW, converted inside the measured
  time; theirs lie in device memory already in their precision and layout. Without `--tune` nothing of ours is timed at build.
- Weights are random from a seed with normalisation statistics that keep activations near unit scale (`models/export.py`). Outputs of all are
  compared with PyTorch FP32; see below.
- Energy is NVML's counter from tick to tick over at least 2 s of runs back to back, all of the card included; "above idle" subtracts what the
  card takes with its contexts but without work.
- {absent} marks what has not been measured, ~ a figure whose rounds differ by more than {unsteady:.0%}. Nothing is typed by hand: `python apps/bench/tables.py` writes this file from the JSON.
"""


def number(value):
    """About three digits."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(titles, rows):
    """A Markdown table, the first column to the left."""
    lines = ["| " + " | ".join(titles) + " |", "|---|" + "---:|" * (len(titles) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def geometric_mean(values):
    return math.exp(statistics.fmean(math.log(value) for value in values))


class Cells:
    """Recorded cells by (model, precision, batch), contenders by name."""

    def __init__(self, documents):
        self.cells = {}
        for document in documents:
            for cell in document["results"]:
                if "failed" in cell:
                    self.cells.setdefault((cell["model"], cell["precision"], cell["batch"]), cell)
                else:
                    self.cells[(cell["model"], cell["precision"], cell["batch"])] = cell

    def models(self, precision):
        return list(dict.fromkeys(model for model, p, _ in self.cells if p == precision))

    def precisions(self):
        order = ["fp16", "bf16", "fp32", "tf32"]
        return sorted({p for _, p, _ in self.cells}, key=order.index)

    def contender(self, model, precision, batch, name):
        cell = self.cells.get((model, precision, batch), {"contenders": []})
        return next((c for c in cell["contenders"] if c["name"] == name), {})

    def time(self, *key):
        return self.contender(*key).get("median_us")

    def energy(self, *key):
        return self.contender(*key).get("energy", {}).get("mj_per_image")

    def names(self, precision):
        """Contenders that at least one cell has measured, ours first."""
        measured = {c["name"] for (_, p, _), cell in self.cells.items() if p == precision for c in cell["contenders"] if "median_us" in c}
        return [name for name in OURS + PEERS if name in measured]

    def missing(self, precision):
        """{contender that no cell has measured: reason}"""
        reasons = {}
        for (_, p, _), cell in self.cells.items():
            for c in cell["contenders"]:
                if p == precision and "missing" in c and c["name"] not in self.names(precision):
                    reasons[c["label"]] = c["missing"]
        return reasons


def unsteady(contender):
    """Whether its rounds differ by more than they should on a quiet machine."""
    rounds = contender.get("rounds_us", [])
    return len(rounds) > 1 and max(rounds) - min(rounds) > UNSTEADY * contender["median_us"]


def best_peer(cells, model, precision, batch):
    times = [cells.time(model, precision, batch, name) for name in PEERS]
    return min((t for t in times if t is not None), default=None)


def times_table(cells, precision):
    names = cells.names(precision)
    rows, ratios = [], {}
    for model in cells.models(precision):
        for batch in BATCHES:
            times = [cells.time(model, precision, batch, name) for name in names]
            ours, peer = cells.time(model, precision, batch, "fcm"), best_peer(cells, model, precision, batch)
            ratio = peer / ours if ours and peer else None
            if ratio:
                ratios.setdefault(batch, []).append(ratio)
            fastest = min((t for t in times if t is not None), default=None)
            marks = ["~" if unsteady(cells.contender(model, precision, batch, name)) else "" for name in names]
            cells_text = [ABSENT if t is None else f"{mark}**{number(t)}**" if t == fastest else mark + number(t) for t, mark in zip(times, marks)]
            rows.append([f"{model}", str(batch), *cells_text, f"{ratio:.2f}" if ratio else ABSENT])
    text = table(["model", "batch", *(f"{TITLES[name]} µs" for name in names), "best peer / FCM"], rows)
    for batch, values in sorted(ratios.items()):
        wins = sum(value > 1 for value in values)
        text += f"\nBatch {batch}: FCM is the faster one in {wins} of {len(values)} models; geometric mean of best peer / FCM {geometric_mean(values):.2f}."
    return text + "\n"


def energy_table(cells, precision):
    names = [n for n in cells.names(precision) if any(cells.energy(m, precision, b, n) for m in cells.models(precision) for b in BATCHES)]
    rows = []
    for model in cells.models(precision):
        for batch in BATCHES:
            values = [cells.energy(model, precision, batch, name) for name in names]
            if any(values):
                rows.append([model, str(batch), *(ABSENT if v is None else number(v) for v in values)])
    return table(["model", "batch", *(f"{TITLES[name]}" for name in names)], rows) if rows else ""


def difference_table(cells, precision):
    names = cells.names(precision)
    rows = []
    for model in cells.models(precision):
        worst = []
        for name in names:
            found = [cells.contender(model, precision, batch, name).get("difference") for batch in BATCHES]
            found = [d for d in found if d]
            worst.append(f"{max(d['largest_over_scale'] for d in found):.4f}" if found and all(d["finite"] for d in found) else "not finite" if found else ABSENT)
        rows.append([model, *worst])
    return table(["model", *(TITLES[name] for name in names)], rows)


def failures(cells, precision):
    lines = []
    for (model, p, batch), cell in cells.cells.items():
        if p != precision:
            continue
        if "failed" in cell:
            lines.append(f"- {model}, batch {batch}: {cell['failed']}")
        lines += [f"- {model}, batch {batch}, {c['label']}: {c['missing']}" for c in cell["contenders"]
                  if "missing" in c and c["name"] in cells.names(precision)]
    return lines


def environments(documents):
    """One line a combination of card and versions, with the days on which it measured."""
    days = {}
    for document in documents:
        for cell in document["results"]:
            e = cell.get("environment")
            if e is None:
                continue
            limit = f", power limit {e['power_limit_w']:.0f} W" if e.get("power_limit_w") else ""
            line = f"{e['device']}, driver {e.get('driver') or 'unknown'}{limit}; torch {e['torch']} with cuDNN {e['cudnn']}, CUDA {e['cuda']}"
            days.setdefault(line, set()).add(cell["date"][:10])
    return [f"- {line}; measured {', '.join(sorted(dates))}" for line, dates in days.items()]


def by_name(rows):
    """{name: {batch: row}}, names in the list's order."""
    found = {}
    for row in rows:
        found.setdefault(row["name"], {})[row["batch"]] = row
    return found


def module_title(result):
    return (f"\n### {result['list']}, {result['precision'].upper()}\n\n{result['device']}, driver {result['driver'] or 'unknown'}, cuDNN {result['cudnn']}; "
            f"measured {result['date']}.\n\n")


def distribution(values, unit):
    low, high = min(values), max(values)
    return f"{low:.2f} to {high:.2f} {unit}, geometric mean {geometric_mean(values):.2f}, {len(values)} modules"


def modules_section(documents):
    """Fused modules against their layers on cuDNN: the files of fcm-bench --modules."""
    text = ""
    for result in documents:
        batches = sorted({m["batch"] for m in result["modules"]})
        rows, speedups, slower, absent = [], {}, [], {}
        for name, found in by_name(result["modules"]).items():
            row = [name]
            for batch in batches:
                m = found.get(batch, {})
                if m.get("error"):
                    absent.setdefault(m["error"].strip(), []).append(f"{name} at batch {batch}")
                fused, unfused = m.get("fused", {}).get("median_us"), m.get("unfused", {}).get("median_us")
                ratio = unfused / fused if fused and unfused else None
                row += [number(us) if us else ABSENT for us in (fused, unfused)] + [f"{ratio:.2f}" if ratio else ABSENT]
                if ratio:
                    speedups.setdefault(batch, []).append(ratio)
                    slower += [f"{name} at batch {batch}"] if ratio < 1 else []
            rows.append(row)
        text += module_title(result)
        text += table(["module", *(title for b in batches for title in (f"batch {b}: fused µs", "cuDNN µs", "speed-up"))], rows)
        for batch, values in sorted(speedups.items()):
            text += f"\nBatch {batch}: {distribution(values, 'times cuDNN')}.\n"
        if speedups:
            text += f"\nSlower than cuDNN: {', '.join(slower) or 'none'}.\n"
        text += "".join(f"\nWithout a fused form ({reason}): {', '.join(names)}.\n" for reason, names in absent.items())
    return text


def traffic_section(documents):
    """Bytes between multiprocessors and L2, counted: the files of tests/gpu/traffic.sh."""
    text = ""
    for result in documents:
        batches = sorted({r["batch"] for r in result["modules"]})
        rows, saved = [], {}
        for name, found in by_name(result["modules"]).items():
            row = [name]
            for batch in batches:
                r = found.get(batch)
                if r is None:
                    row += [ABSENT] * 6
                    continue
                saved.setdefault(batch, []).append(r["saved"])
                row += [f"{r['l2_fused'] / 1e6:.2f}", f"{r['l2_unfused'] / 1e6:.2f}", f"{100 * r['saved']:.0f} %", f"{r['compulsory'] / 1e6:.2f}",
                        f"{r['dram_fused'] / 1e6:.2f}", f"{r['dram_unfused'] / 1e6:.2f}"]
            rows.append(row)
        titles = [title for b in batches for title in (f"batch {b}: L2 MB fused", "cuDNN", "saved", "compulsory", "DRAM MB fused", "cuDNN")]
        text += module_title(result) + table(["module", *titles], rows)
        for batch, values in sorted(saved.items()):
            text += (f"\nBatch {batch}: saved {100 * statistics.fmean(values):.0f} % on the mean, {100 * min(values):.0f} to {100 * max(values):.0f} %, "
                     f"{len(values)} modules.\n")
    return text


def repeat_section(first, second):
    """Two runs of fcm-bench on one card, and the driver's own record: how far the figures can be trusted."""
    rows = []
    for a in first["results"]:
        keys = ("model", "batch", "precision", "fused")
        b = next((r for r in second["results"] if all(r[k] == a[k] for k in keys)), None)
        if b is None:
            continue
        whole, energies = (a.get("profile") or {}).get("whole"), [(r.get("energy") or {}).get("mj_per_image") for r in (a, b)]
        clocks = [ABSENT] * 4
        if whole:
            events, launch, record = (whole[key] for key in ("events_us", "launch_us", "record_us"))
            clocks = [f"{events:.1f}", number(launch), f"{record:.1f}", f"{events - launch - record:+.1f}"]
        rows.append([a["model"], str(a["batch"]), f"{a['median_us']:.1f}", f"{b['median_us']:.1f}", f"{100 * (b['median_us'] / a['median_us'] - 1):+.1f} %",
                     f"{a['gpu_us']['median']:.1f}" if a.get("gpu_us") else ABSENT, *clocks, *(number(e) if e else ABSENT for e in energies)])
    titles = ["model", "batch", "first run µs", "second run µs", "change", "single µs", "held µs", "graph µs", "CUPTI µs", "rest µs", "mJ/image", "again"]
    e = first["environment"]
    return (f"\n## Repeatability of fcm-bench\n\n{e['device']}, driver {e['driver'] or 'unknown'}; measured {e['date'][:10]}. Two processes one after the other, runs back to back.\n"
            "\"Single\" is a synchronised run between two events on an idle device: it waits for the host to hand over the graph. \"Held\" is one that was handed\n"
            "over while the device was busy, \"CUPTI\" the driver's record of the same run, from its first kernel's start to its last one's end. Events also see\n"
            "the graph entered and left, which \"graph\" measures on one of a single empty kernel; the rest is what the two clocks disagree by.\n\n"
            + table(titles, rows))


def energy_section(cells, precision):
    text = energy_table(cells, precision)
    days = sorted({cell["date"][:10] for (_, p, _), cell in cells.cells.items() if p == precision and "failed" not in cell})
    return f"\n### Energy, {precision.upper()}, mJ an image\n\nMeasured {' and '.join(days)}, with the plans of that day.\n\n{text}" if text else ""


def page(documents, modules, traffic, repeat=None, energies=None, wanted=()):
    cells = Cells(documents)
    text = "# Benchmarks\n\nWritten by `apps/bench/tables.py`; do not edit.\n\n"
    text += "\n".join(environments(documents)) + "\n\n" + METHOD.format(absent=ABSENT, unsteady=UNSTEADY)
    for precision in cells.precisions():
        text += f"\n## Whole networks, {precision.upper()}\n\nMicroseconds a run of the whole batch; the fastest in bold.\n\n" + times_table(cells, precision)
        absent = [model for model in wanted if model not in cells.models(precision)]
        if absent:
            text += f"\nNot measured: {', '.join(absent)}.\n"
        text += energy_section(Cells(energies) if energies else cells, precision)
        text += (f"\n### Outputs, {precision.upper()}\n\nLargest difference from PyTorch FP32 over the largest logit, the worst of the batch sizes.\n\n"
                 + difference_table(cells, precision))
        for label, reason in cells.missing(precision).items():
            text += f"\n{label}: missing, {reason}."
        failed = failures(cells, precision)
        if failed:
            text += "\n\nWithout a figure, and why:\n\n" + "\n".join(failed)
        text += "\n"
    if modules:
        text += "\n## Fused modules against their layers on cuDNN\n\nEach layer on the fastest of several of cuDNN's engines, with its bias and activation inside where an engine can.\n"
        text += ("A module or its layers stand in a CUDA graph as often as fills about 100 µs; a time is the median of 7 rounds of 200 replays of that graph back to\n"
                 "back, per module. Both forms take turns. Tiles are the planner's, nothing of ours is tuned. Equal modules are measured once.\n")
        text += modules_section(modules)
    if traffic:
        text += "\n## Memory accesses of modules, counted\n\nBytes between multiprocessors and L2, and of DRAM, by Nsight Compute on a warm device, of the tiles and engines of their own day (a module that is timed above with a later tile moves other bytes). Compulsory: input, output\nand weights once.\n" + traffic_section(traffic)
    if repeat:
        text += repeat_section(*repeat)
    return text


def read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: {error}") from error


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="+", type=pathlib.Path, metavar="CELLS")
    parser.add_argument("--modules", nargs="+", type=pathlib.Path, default=[], metavar="FILE")
    parser.add_argument("--traffic", nargs="+", type=pathlib.Path, default=[], metavar="FILE")
    parser.add_argument("--repeat", nargs=2, type=pathlib.Path, metavar="FILE", help="two files of fcm-bench --json, of the same models")
    parser.add_argument("--wanted", nargs="+", default=[], metavar="MODEL", help="names, `first` or `zoo`: those that no cell has are named")
    parser.add_argument("--energy", nargs="+", type=pathlib.Path, default=[], metavar="FILE", help="files like CELLS, for the energies alone")
    parser.add_argument("--output", type=pathlib.Path, help="default: standard output")
    options = parser.parse_args(arguments)
    absent = [str(p) for p in [*options.cells, *options.energy] if not p.is_file()]
    if absent:
        parser.error(f"no file {', '.join(absent)}")
    modules = [result for path in options.modules for result in read_json(path)]
    text = page([driver.read_results(path) for path in options.cells], modules, [read_json(path) for path in options.traffic],
                [read_json(path) for path in options.repeat or []], [driver.read_results(path) for path in options.energy], sweep.chosen(options.wanted))
    if options.output is None:
        print(text)
    else:
        options.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
