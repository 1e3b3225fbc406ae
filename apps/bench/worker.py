"""One cell of a comparison in a process of its own: a model at a batch and precision, all contenders in turn. Started by driver.py, with
which it speaks JSON, a line at a time: it answers its task with {"event": "ready"}, and "measure" with {"event": "result", ...}.

Preparing (export, compilation, capture) may overlap with that of other cells; measuring never does."""

import datetime
import fcntl
import json
import os
import pathlib
import statistics
import sys
import time
import traceback
import warnings

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROUNDS = 7
REPLAYS = 200
ROUND_SECONDS = 0.1  # fewer replays where a round would take longer
SINGLES = 50
WARM_SECONDS = 0.2
ENERGY_SECONDS = 2
CHUNK_SECONDS = 0.004
SEED = 0


class Channel:
    """Standard output for the driver alone: what libraries print goes to standard error."""

    def __init__(self):
        self.out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def send(self, event, **fields):
        self.out.write(json.dumps({"event": event, **fields}) + "\n")
        self.out.flush()


def make_network(name):
    """(FP32 network on the CPU, side of its images), the one that models/export.py exports."""
    sys.path.insert(0, str(ROOT / "models"))
    import export
    import zoo

    network, config = export.create(name, export.description_of(name, zoo.load_manifest()), seed=SEED)
    if config.get("layout", "nchw") != "nchw":
        raise RuntimeError(f"{name} takes images in {config['layout']}; the comparison is made for NCHW")
    return network.requires_grad_(False), config["input_size"][-1]


def export_onnx(network, images, path):
    """The network with a free batch; a file that exists is kept. Processes that want the same file wait for the one that writes it."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            write_onnx(torch, network, images, path)


def write_onnx(torch, network, images, path):
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
    with torch.no_grad():
        torch.onnx.export(
            network, (images[:1].repeat(2, 1, 1, 1),), str(temporary), dynamo=False, opset_version=17, input_names=["input"],
            output_names=["logits"], dynamic_axes=axes,
        )
    temporary.replace(path)


class Cell:
    def __init__(self, description):
        import torch

        import contenders
        from fcm_library import Library

        self.description = description
        precision = description["precision"]
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.set_num_threads(2)
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # of the TorchScript exporter
        network, side = make_network(description["model"])
        generator = torch.Generator().manual_seed(SEED)
        images = torch.randn((description["batch"], 3, side, side), generator=generator)
        path = pathlib.Path(description["onnx_folder"]) / f"{description['model']}.onnx"
        export_onnx(network, images, path)
        self.stream = torch.cuda.Stream()
        self.task = contenders.Task(
            description["model"], description["batch"], precision, network.cuda(), images.cuda(), path, Library(description["library"]), self.stream
        )
        with torch.no_grad():
            self.expected = self.task.network(self.task.images).float()
        torch.cuda.synchronize()
        self.contenders, self.results = {}, {}
        for name in description["contenders"]:
            kind = contenders.CONTENDERS[name]
            start = time.monotonic()
            result = {"name": name, "label": kind.label}
            try:
                self.contenders[name] = kind(self.task)
            except contenders.Missing as reason:
                result["missing"] = str(reason)
            except Exception as error:  # a framework may throw anything; it takes no part, and the table says why
                traceback.print_exc()
                result["missing"] = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
            result["prepare_s"] = round(time.monotonic() - start, 2)
            self.results[name] = result
        torch.cuda.synchronize()

    def round(self, contender, replays):
        """Microseconds a run, of runs back to back between two events; and the host's share of that time."""
        import torch

        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start = time.perf_counter()
        begin.record(self.stream)
        for _ in range(replays):
            contender.enqueue()
        end.record(self.stream)
        enqueued = time.perf_counter() - start
        end.synchronize()
        us = 1000 * begin.elapsed_time(end)
        return us / replays, 1e6 * enqueued / us

    def single(self, contender):
        return self.round(contender, 1)[0]

    def compare_outputs(self):
        import torch

        scale = self.expected.abs().max()
        for name, contender in self.contenders.items():
            contender.enqueue()
            got = contender.output().reshape(self.expected.shape)
            same_top = (got.argmax(1) == self.expected.argmax(1)).float().mean().item()
            self.results[name]["difference"] = {
                "largest_over_scale": ((got - self.expected).abs().max() / scale).item(),
                "cosine": torch.nn.functional.cosine_similarity(got.flatten(), self.expected.flatten(), dim=0).item(),
                "top1_agreement": same_top,
                "finite": bool(torch.isfinite(got).all()),
            }

    def measure_times(self, monitor):
        clocks = []
        replays = {}
        for name, contender in self.contenders.items():
            start = time.monotonic()
            while time.monotonic() - start < WARM_SECONDS:
                self.single(contender)
            estimate = statistics.median(self.single(contender) for _ in range(5))
            replays[name] = max(1, min(REPLAYS, int(1e6 * ROUND_SECONDS / estimate)))
        rounds = {name: [] for name in self.contenders}
        shares = {name: [] for name in self.contenders}
        singles = {name: [] for name in self.contenders}
        for _ in range(ROUNDS):
            for name, contender in self.contenders.items():
                us, share = self.round(contender, replays[name])
                rounds[name].append(round(us, 3))
                shares[name].append(share)
                singles[name] += [round(self.single(contender), 3) for _ in range(max(1, SINGLES // ROUNDS))]
                if monitor is not None:
                    clocks.append(monitor.sm_mhz())
        for name in self.contenders:
            self.results[name].update(
                median_us=statistics.median(rounds[name]), rounds_us=rounds[name], replays=replays[name], single_us=statistics.median(singles[name]),
                enqueue_share=round(statistics.median(shares[name]), 3),
            )
        return clocks

    def energy_work(self, contender, us):
        """Keeps one chunk of runs queued behind the one that is waited for."""
        import torch

        chunk = max(1, int(1e6 * CHUNK_SECONDS / us))
        ends = []

        def work():
            for _ in range(chunk):
                contender.enqueue()
            end = torch.cuda.Event()
            end.record(self.stream)
            ends.append(end)
            if len(ends) < 2:
                return 0
            ends.pop(0).synchronize()
            return chunk * self.task.batch

        return work

    def measure(self, energy, monitor, monitor_reason):
        import torch

        from gpu_monitor import MonitorError, energy_result, idle_watts, watch

        with torch.no_grad(), torch.cuda.stream(self.stream):
            self.compare_outputs()
            clocks = self.measure_times(monitor)
            if energy and monitor is not None:
                try:
                    idle = idle_watts(monitor)
                    for name, contender in self.contenders.items():
                        span = watch(monitor.energy_mj, self.energy_work(contender, self.results[name]["median_us"]), ENERGY_SECONDS)
                        torch.cuda.synchronize()
                        self.results[name]["energy"] = energy_result(span, idle)
                except MonitorError as error:
                    monitor_reason = str(error)
            if energy and monitor_reason:
                for name in self.contenders:
                    self.results[name].setdefault("energy", {"unavailable": monitor_reason})
        for name, contender in self.contenders.items():
            self.results[name].update(contender.details())
        result = {key: self.description[key] for key in ("model", "batch", "precision")}
        result["contenders"] = list(self.results.values())
        result["sm_mhz"] = {"low": min(clocks), "high": max(clocks)} if clocks else None
        result["date"] = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        return result


def environment(library, monitor):
    import torch

    return {
        "device": torch.cuda.get_device_name(0),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": monitor.driver() if monitor else None,
        "power_limit_w": monitor.power_limit_w() if monitor else None,
        "fcm": library.version_text().splitlines()[0],
    }


def open_monitor():
    import torch

    from gpu_monitor import GpuMonitor, MonitorError

    properties = torch.cuda.get_device_properties(0)
    try:
        return GpuMonitor(f"{properties.pci_domain_id:08x}:{properties.pci_bus_id:02x}:{properties.pci_device_id:02x}.0"), None
    except (MonitorError, AttributeError) as error:
        return None, str(error)


def main():
    channel = Channel()
    description = json.loads(sys.stdin.readline())
    try:
        cell = Cell(description)
        channel.send("ready")
        if sys.stdin.readline().strip() != "measure":
            return
        monitor, reason = open_monitor()
        result = cell.measure(description["energy"], monitor, reason)
        result["environment"] = environment(cell.task.library, monitor)
        channel.send("result", result=result)
    except Exception as error:  # the driver reports the cell as missing
        traceback.print_exc()
        lines = str(error).splitlines() or [""]
        channel.send("error", reason=f"{type(error).__name__}: {lines[0][:300]}")


if __name__ == "__main__":
    main()
