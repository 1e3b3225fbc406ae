"""Runs cells of a comparison: some prepare at the same time, each in its own process, then one after another measures on the quiet machine."""

import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time

WORKER = pathlib.Path(__file__).with_name("worker.py")
MEASURE_SECONDS = 300
SCHEMA = "fcm-peers 1"


class Process:
    """A worker and the lines that it sends."""

    def __init__(self, cell, log):
        self.cell = cell
        self.events = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
        self.say(json.dumps(cell))
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def say(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # it has ended; `wait` says so

    def read(self):
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.events.put({"event": "error", "reason": f"the process ended with code {self.process.wait()}"})

    def wait(self, deadline):
        """The next event; an error at the deadline (time.monotonic)."""
        try:
            return self.events.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return {"event": "error", "reason": "not done in time"}

    def stop(self):
        """Ends the worker and what it started; may be called again."""
        # Compilers that the frameworks start belong to the session of the worker.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process.stdin.close()
        self.reader.join()
        self.process.stdout.close()


def key_of(cell):
    return (cell["model"], cell["batch"], cell["precision"])


def failed(cell, reason):
    return {**{k: cell[k] for k in ("model", "batch", "precision")}, "failed": reason, "contenders": []}


def run_group(cells, deadline, on_result, say, log):
    """Prepares all cells at once, then measures one by one."""
    processes = [Process(cell, log) for cell in cells]
    try:
        for process in processes:
            process.event = process.wait(deadline)
            say(f"{' '.join(map(str, key_of(process.cell)))}: {process.event['event']} {process.event.get('reason', '')}")
            if process.event["event"] != "ready":
                process.stop()  # at once: what still prepares would disturb those that are measured
        for process in processes:
            if process.event["event"] == "ready":
                process.say("measure")
                process.event = process.wait(min(deadline + MEASURE_SECONDS, time.monotonic() + MEASURE_SECONDS))
            if process.event["event"] == "result":
                on_result(process.event["result"])
            else:
                on_result(failed(process.cell, process.event.get("reason", "unknown")))
            process.stop()
    finally:
        for process in processes:
            process.stop()


def read_results(path):
    """The document at `path`, or an empty one."""
    if not path.exists():
        return {"schema": SCHEMA, "results": []}
    document = json.loads(path.read_text(encoding="utf-8"))
    if document.get("schema") != SCHEMA:
        raise SystemExit(f"{path} has the schema {document.get('schema')!r}; accepted is {SCHEMA!r}")
    return document


def write_results(path, document):
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def merge(document, result):
    """Adds a cell, in place of an older one of the same key; a failed one never replaces a measured one."""
    others = [r for r in document["results"] if key_of(r) != key_of(result)]
    old = [r for r in document["results"] if key_of(r) == key_of(result)]
    if old and "failed" in result and "failed" not in old[0]:
        return
    document["results"] = sorted([*others, result], key=lambda r: (r["model"], r["precision"], r["batch"]))


def missing_cells(cells, document):
    """Cells that the document does not have, or whose last try failed."""
    done = {key_of(r) for r in document["results"] if "failed" not in r}
    return [cell for cell in cells if key_of(cell) not in done]


def run_cells(cells, output, jobs, seconds, say=lambda line: print(line, file=sys.stderr, flush=True), log=None):
    """Measures what `output` lacks, `jobs` cells prepared at a time, starting no group after `seconds`; writes `output` after each cell."""
    document = read_results(output)
    todo = missing_cells(cells, document)
    say(f"{len(cells)} cells, {len(cells) - len(todo)} done before")
    started = time.monotonic()
    done = 0

    def on_result(result):
        nonlocal done
        done += 1
        merge(document, result)
        write_results(output, document)
        times = ", ".join(f"{c['name']} {c['median_us']:.1f}" if "median_us" in c else f"{c['name']} missing" for c in result["contenders"])
        say(f"[{done}/{len(todo)}, {time.monotonic() - started:.0f} s] {' '.join(map(str, key_of(result)))}: {result.get('failed', times)}")

    for at in range(0, len(todo), jobs):
        if seconds is not None and time.monotonic() - started > seconds:
            say(f"out of time: {len(todo) - at} cells are left; the same command goes on with them")
            break
        deadline = time.monotonic() + 1800 if seconds is None else started + seconds
        run_group(todo[at : at + jobs], deadline, on_result, say, log)
    return document
