"""The networks for measurements: convolutions, weights and sums as published, the same bytes from the same seed."""

import sys
import unittest

import support  # first: it skips the module where numpy is missing

import numpy as np

try:
    import onnx
except ImportError as error:
    raise unittest.SkipTest("needs the onnx package (scripts/setup.sh installs it)") from error

sys.path.insert(0, str(support.ROOT / "models" / "paper"))
import networks  # noqa: E402

# Name -> convolutions on maps larger than one pixel, millions of their weights, residual sums; the first four from the FCM paper's graphs.
PUBLISHED = {
    "mobilenetv1_keras": (27, 3.19, 0),
    "mobilenetv2_keras": (52, 2.19, 10),
    "xception": (74, 20.8, 12),
    "proxylessnas": (43, 4.87, 7),
    "efficientnet_b0": (49, 3.33, 9),
    "mobilenetv3_large": (46, 1.44, 10),
}


class Networks(unittest.TestCase):
    def test_sizes(self):
        for name, (convolutions, millions, sums) in PUBLISHED.items():
            with self.subTest(name):
                model = networks.build(name, 1)
                shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
                dims = {i.name: list(i.dims) for i in model.graph.initializer}
                large = [n for n in model.graph.node if n.op_type == "Conv" and shapes[n.output[0]][2] > 1]
                self.assertEqual(len(large), convolutions)
                self.assertAlmostEqual(sum(np.prod(dims[n.input[1]]) for n in large) / 1e6, millions, delta=0.06)
                self.assertEqual(sum(n.op_type == "Add" for n in model.graph.node), sums)

    def test_the_same_seed_gives_the_same_bytes(self):
        first, again = (networks.build("mobilenetv2").SerializeToString(deterministic=True) for _ in range(2))
        self.assertEqual(first, again)
        self.assertNotEqual(first, networks.build("mobilenetv2", seed=1).SerializeToString(deterministic=True))


if __name__ == "__main__":
    unittest.main()
