"""Tables from recorded cells: fastest in bold, missing cells marked with their reasons, results of several files in one table."""

import json
import pathlib
import tempfile
import unittest

import support  # noqa: F401  (finds apps/bench)

import sweep
import tables


def contender(name, us=None, mj=None, missing=None):
    result = {"name": name, "label": tables.TITLES[name]}
    if us is not None:
        result["median_us"] = us
    if mj is not None:
        result["energy"] = {"mj_per_image": mj}
    if missing is not None:
        result["missing"] = missing
    return result


ENVIRONMENT = {"device": "NVIDIA H200", "driver": "580.1", "power_limit_w": 700.0, "torch": "2.11", "cudnn": 91900, "cuda": "13.0"}


def cell(model, batch, *contenders, date="2026-11-26T05:00:00Z", precision="fp16"):
    return {"model": model, "batch": batch, "precision": precision, "contenders": list(contenders), "date": date, "environment": ENVIRONMENT}


def document(*cells):
    return {"schema": "fcm-peers 1", "results": list(cells)}


class Tables(unittest.TestCase):
    def page(self, *documents, **more):
        return tables.page(list(documents), more.get("modules", []), more.get("traffic", []))

    def test_rows_columns_and_ratio(self):
        text = self.page(document(cell("net", 1, contender("fcm", 100, 20), contender("inductor", 250, 49), contender("tensorrt", missing="not installed"))))
        self.assertIn("| model | batch | FCM µs | Inductor µs | best peer / FCM |", text)
        self.assertIn("| net | 1 | **100** | 250 | 2.50 |", text)
        self.assertIn("| net | 8 | — | — | — |", text)
        self.assertIn("TensorRT: missing, not installed.", text)
        self.assertIn("NVIDIA H200, driver 580.1, power limit 700 W; torch 2.11 with cuDNN 91900, CUDA 13.0; measured 2026-11-26", text)
        self.assertIn("Batch 1: FCM is the faster one in 1 of 1 models; geometric mean of best peer / FCM 2.50.", text)
        self.assertIn("| net | 1 | 20.0 | 49.0 |", text)

    def test_unsteady_figures_are_marked(self):
        shaky = {**contender("fcm", 100), "rounds_us": [97, 100, 103]}
        text = self.page(document(cell("net", 1, shaky, {**contender("inductor", 200), "rounds_us": [199, 200, 201]})))
        self.assertIn("| net | 1 | ~**100** | 200 | 2.00 |", text)

    def test_models_without_a_cell_are_named(self):
        text = tables.page([document(cell("net", 1, contender("fcm", 100)))], [], [], wanted=["other", "net"])
        self.assertIn("Not measured: other.\n", text)
        self.assertNotIn("Not measured", self.page(document(cell("net", 1, contender("fcm", 100)))))

    def test_a_lost_row_is_shown_as_lost(self):
        text = self.page(document(cell("net", 64, contender("fcm", 300), contender("inductor", 250))))
        self.assertIn("| net | 64 | 300 | **250** | 0.83 |", text)
        self.assertIn("FCM is the faster one in 0 of 1 models", text)

    def test_failures_have_their_reasons(self):
        failed = {"model": "bad", "batch": 1, "precision": "fp16", "failed": "not done in time", "contenders": []}
        partly = cell("net", 1, contender("fcm", missing="unsupported: Foo"), contender("inductor", 9.5))
        also = cell("net", 8, contender("fcm", 1.234), contender("inductor", 5))
        text = self.page(document(failed, partly), document(also))
        self.assertIn("- bad, batch 1: not done in time", text)
        self.assertIn("- net, batch 1, FCM: unsupported: Foo", text)
        self.assertIn("| net | 1 | — | **9.50** | — |", text)
        self.assertIn("| net | 8 | **1.23** | 5.00 | 4.05 |", text)

    def test_modules_and_traffic(self):
        timing = {"median_us": 2.0}
        modules = [{"list": "paper", "precision": "fp32", "device": "H200", "driver": "580", "cudnn": "9.19", "date": "2026-11-26", "modules": [
            {"name": "a", "batch": 1, "fused": timing, "unfused": {"median_us": 5.0}}, {"name": "a", "batch": 8, "fused": timing, "unfused": {"median_us": 1.0}},
            {"name": "b", "batch": 1, "error": "no engine"}]}]
        traffic = [{"list": "paper", "precision": "fp32", "device": "H200", "driver": "580", "cudnn": "9.19", "date": "2026-11-26", "modules": [
            {"name": "a", "batch": 1, "l2_fused": 1e6, "l2_unfused": 4e6, "saved": 0.75, "dram_fused": 0, "dram_unfused": 2e6, "compulsory": 9e5}]}]
        text = self.page(document(cell("net", 1, contender("fcm", 1))), modules=modules, traffic=traffic)
        self.assertIn("H200, driver 580, cuDNN 9.19; measured 2026-11-26.", text)
        self.assertIn("| a | 2.00 | 5.00 | 2.50 | 2.00 | 1.00 | 0.50 |", text)
        self.assertIn("| b | — | — | — | — | — | — |", text)
        self.assertIn("Batch 1: 2.50 to 2.50 times cuDNN, geometric mean 2.50, 1 modules.", text)
        self.assertIn("Slower than cuDNN: a at batch 8.", text)
        self.assertIn("Without a fused form (no engine): b at batch 1.", text)
        self.assertIn("| a | 1.00 | 4.00 | 75 % | 0.90 | 0.00 | 2.00 |", text)
        self.assertIn("Batch 1: saved 75 % on the mean", text)

    def test_repeatability(self):
        def run(us, mj):
            return {"environment": {"device": "H200", "driver": "580", "date": "2026-11-26T10:00:00Z"},
                    "results": [{"model": "net", "batch": 1, "precision": "fp16", "fused": True, "median_us": us, "gpu_us": {"median": 108.0},
                                 "profile": {"whole": {"record_us": 104.0, "events_us": 107.8, "launch_us": 3.6}}, "energy": {"mj_per_image": mj}}]}

        text = tables.page([document(cell("net", 1, contender("fcm", 1)))], [], [], [run(100.0, 20.0), run(101.0, 20.4)])
        self.assertIn("| net | 1 | 100.0 | 101.0 | +1.0 % | 108.0 | 107.8 | 3.60 | 104.0 | +0.2 | 20.0 | 20.4 |", text)

    def test_merging_keeps_the_newest(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder) / name for name in ("a.json", "b.json")]
            old = cell("net", 1, contender("fcm", 200), date="2026-11-25T05:00:00Z")
            paths[0].write_text(json.dumps(document(cell("net", 1, contender("fcm", 100)))))
            paths[1].write_text(json.dumps(document(old, cell("other", 1, contender("fcm", 1)))))
            output = pathlib.Path(folder) / "all.json"
            self.assertEqual(sweep.merge_files(paths, output), 2)
            found = {r["model"]: r["contenders"][0]["median_us"] for r in json.loads(output.read_text())["results"]}
            self.assertEqual(found, {"net": 100, "other": 1})

    def test_the_first_models_are_ten_of_the_zoo(self):
        self.assertEqual(len(sweep.chosen(["first"])), 10)
        self.assertTrue(set(sweep.FIRST) <= set(sweep.chosen(["zoo"])))


if __name__ == "__main__":
    unittest.main()
