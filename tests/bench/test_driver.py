"""Cells of a comparison: measured one at a time, resumed, merged, given up in time; errors become results with a reason."""

import json
import pathlib
import tempfile
import unittest

import support

import driver
import peers
from gpu_monitor import MonitorError, energy_result, watch


def cell(model, batch=1):
    return {"model": model, "batch": batch, "precision": "fp16"}


class Driver(unittest.TestCase):
    def setUp(self):
        self.worker = driver.WORKER
        driver.WORKER = pathlib.Path(__file__).with_name("fake_worker.py")
        self.folder = tempfile.TemporaryDirectory()
        self.output = pathlib.Path(self.folder.name) / "out.json"
        self.lines = []

    def tearDown(self):
        driver.WORKER = self.worker
        self.folder.cleanup()

    def run_cells(self, cells, jobs=4, seconds=None):
        driver.run_cells(cells, self.output, jobs, seconds, self.lines.append)
        return json.loads(self.output.read_text())["results"] if self.output.exists() else []

    def test_measures_one_at_a_time(self):
        results = self.run_cells([cell("a"), cell("b"), cell("b", 8)])
        self.assertEqual([(r["model"], r["batch"]) for r in results], [("a", 1), ("b", 1), ("b", 8)])
        spans = sorted((c["started"], c["ended"]) for r in results for c in r["contenders"])
        for (_, end), (start, _) in zip(spans, spans[1:]):
            self.assertLessEqual(end, start)

    def test_goes_on_where_it_stopped(self):
        self.run_cells([cell("a")])
        results = self.run_cells([cell("a"), cell("b")])
        self.assertEqual(len(results), 2)
        self.assertIn("2 cells, 1 done before", self.lines)

    def test_errors_are_written_down_and_tried_again(self):
        results = self.run_cells([cell("fails"), cell("dies"), cell("a")])
        failed = {r["model"]: r.get("failed") for r in results}
        self.assertEqual(failed["fails"], "ValueError: no such layer")
        self.assertIn("code 3", failed["dies"])
        self.assertIsNone(failed["a"])
        self.run_cells([cell("fails"), cell("a")])
        self.assertIn("2 cells, 1 done before", self.lines)

    def test_gives_up_in_time(self):
        results = self.run_cells([cell("sleeps"), cell("a"), cell("b")], jobs=2, seconds=1.5)
        self.assertEqual({r["model"]: r.get("failed") for r in results}, {"a": None, "sleeps": "not done in time"})
        self.assertTrue(any("out of time: 1 cells are left" in line for line in self.lines), self.lines)

    def test_what_is_not_ready_is_stopped_before_anything_is_measured(self):
        alive = []
        start = driver.Process.say

        def say(process, line):
            if line == "measure":
                alive.extend(p for p in started if p is not process and p.cell["model"] == "sleeps" and p.process.poll() is None)
            else:
                started.append(process)
            start(process, line)

        started = []
        driver.Process.say = say
        try:
            self.run_cells([cell("a"), cell("sleeps"), cell("b")], seconds=1.5)
        finally:
            driver.Process.say = start
        self.assertEqual(len(started), 3)
        self.assertEqual(alive, [])

    def test_a_failure_does_not_replace_a_measurement(self):
        document = {"results": [{**cell("a"), "contenders": [{"median_us": 1}]}]}
        driver.merge(document, driver.failed(cell("a"), "x"))
        self.assertNotIn("failed", document["results"][0])
        driver.merge(document, {**cell("a"), "contenders": [{"median_us": 2}]})
        self.assertEqual([r["contenders"][0]["median_us"] for r in document["results"]], [2])

    def test_refuses_another_schema(self):
        self.output.write_text('{"schema": "other"}')
        with self.assertRaises(SystemExit) as refused:
            self.run_cells([cell("a")])
        self.assertIn("'other'", str(refused.exception))


class Energy(unittest.TestCase):
    def test_from_tick_to_tick(self):
        now = 0.0

        def clock():
            return now

        def work():
            nonlocal now
            now += 0.003
            return 3

        span = watch(lambda: int(now * 10) * 30000, work, 2, clock)
        self.assertAlmostEqual(span["joules"] / span["seconds"], 300, delta=2)
        result = energy_result(span, 100)
        self.assertAlmostEqual(result["mj_per_image"], 300, delta=2)
        self.assertAlmostEqual(result["mj_per_image_above_idle"], 200, delta=2)

    def test_a_counter_that_stands_still(self):
        now = 0.0

        def clock():
            nonlocal now
            now += 0.1
            return now

        with self.assertRaises(MonitorError):
            watch(lambda: 5, lambda: 1, 2, clock)


class Arguments(unittest.TestCase):
    def test_unknown_names_are_refused(self):
        for arguments in (["m", "--contenders", "fcm,onnx"], ["m", "--precision", "fp8"], ["m", "--batch", "0"], ["m", "--library", "/no/file"], []):
            with self.assertRaises(SystemExit) as refused, support.quiet():
                peers.main(arguments)
            self.assertEqual(refused.exception.code, 2, arguments)


if __name__ == "__main__":
    unittest.main()
