"""What runs a model beside ours. Each contender prepares once, then `enqueue()` puts one run on the stream, captured as a CUDA graph where
the framework can. One that is not installed or cannot run this model raises Missing with the reason."""

import ctypes
import importlib
import re
import tempfile

import torch

WARM_RUNS = 3


class Missing(RuntimeError):
    """The contender cannot take part; the text says why, in one line."""


def load_module(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Missing(f"not installed ({error})") from error


class Task:
    """A model at a batch and precision, and the input that all contenders get. `network` is FP32 on the GPU, `onnx_path` the same network as
    a file, `images` FP32 [n, 3, h, w] on the GPU."""

    def __init__(self, model, batch, precision, network, images, onnx_path, library, stream):
        self.model, self.batch, self.precision = model, batch, precision
        self.network, self.images, self.onnx_path, self.library, self.stream = network, images, onnx_path, library, stream
        self.dtype = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]


class Contender:
    label = ""

    def __init__(self, task):
        self.task = task

    def enqueue(self):
        raise NotImplementedError

    def output(self):
        """FP32 logits [n, classes] of the last run, on the GPU; synchronises."""
        raise NotImplementedError

    def details(self):
        return {}


class Fcm(Contender):
    label = "FCM"
    options = {}

    def __init__(self, task):
        super().__init__(task)
        from fcm_library import FcmError, Session

        precision = "fp32" if task.precision == "tf32" else task.precision
        options = {"device": "cuda", "precision": precision, "tf32": int(task.precision == "tf32"), "max_batch": task.batch, **self.options}
        try:
            self.session = Session(task.library, task.onnx_path, task.batch, options)
        except FcmError as error:
            raise Missing(str(error).splitlines()[0][:300]) from error
        port = self.session.output_port
        dims = [d * (task.batch if free else 1) for d, free in zip(port.dims[: port.rank], port.batch_dims[: port.rank])]
        self.result = torch.empty(dims, dtype=torch.float32, device="cuda")
        self.input = task.images.contiguous()
        self.session.bind(self.input.data_ptr(), self.input.nbytes, self.result.data_ptr(), self.result.nbytes, task.stream.cuda_stream)
        self.enqueue = self.session.run

    def output(self):
        torch.cuda.synchronize()
        return self.result

    def details(self):
        # The last variant is the one for this batch, the largest that the engine was built for.
        variants = re.findall(r"^  run (\d+)\.\d+ ", self.session.property("plan"), re.MULTILINE)
        return {"plan_hash": self.session.property("plan_hash"), "steps": variants.count(max(variants, key=int, default=""))}


class FcmUnfused(Fcm):
    label = "FCM, not fused"
    options = {"fuse": 0}


class FcmTuned(Fcm):
    label = "FCM, tuned"
    options = {"tune": 1}

    def __init__(self, task):
        self.options = {"tune": 1, "tune_batches": task.batch}
        super().__init__(task)


class Graphed(Contender):
    """PyTorch's work under a CUDA graph."""

    def __init__(self, task):
        super().__init__(task)
        self.network = self.prepare()
        # Batch norm and the rest stay as exported; weights and images lie as cuDNN likes them.
        self.input = task.images.to(task.dtype).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), torch.cuda.stream(task.stream):
            for _ in range(WARM_RUNS):
                self.network(self.input)
            task.stream.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, stream=task.stream, capture_error_mode="thread_local"):
                self.result = self.network(self.input)
        self.enqueue = self.graph.replay

    def typed_network(self):
        import copy

        return copy.deepcopy(self.task.network).to(self.task.dtype).to(memory_format=torch.channels_last)

    def prepare(self):
        raise NotImplementedError

    def output(self):
        torch.cuda.synchronize()
        return self.result.float()


class Eager(Graphed):
    label = "PyTorch eager"

    def prepare(self):
        torch.backends.cudnn.benchmark = True
        return self.typed_network()


class Inductor(Graphed):
    label = "torch.compile"
    mode = "default"

    def prepare(self):
        return torch.compile(self.typed_network(), mode=self.mode, fullgraph=False, dynamic=False)


class InductorMaxAutotune(Inductor):
    label = "torch.compile max-autotune"
    mode = "max-autotune-no-cudagraphs"


class OnnxRuntime(Contender):
    """ONNX Runtime with device buffers, under its CUDA graph."""

    provider = "CUDAExecutionProvider"
    label = "ONNX Runtime CUDA"
    provider_options = {"enable_cuda_graph": "1", "use_tf32": "0", "prefer_nhwc": "1"}

    def __init__(self, task):
        super().__init__(task)
        ort = load_module("onnxruntime")
        if self.provider not in ort.get_available_providers():
            raise Missing(f"onnxruntime {ort.__version__} has no {self.provider}")
        options = dict(self.provider_options, user_compute_stream=str(task.stream.cuda_stream))
        settings = ort.SessionOptions()
        settings.log_severity_level = 3
        self.input = task.images.to(task.dtype).contiguous()
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            export_typed(task, file.name)
            self.session = ort.InferenceSession(file.name, settings, providers=[(self.provider, options)])
        with torch.no_grad():
            self.result = torch.empty_like(task.network(task.images), dtype=task.dtype)
        element = {torch.float16: "float16", torch.float32: "float32"}.get(task.dtype)
        if element is None:
            raise Missing(f"{task.precision} is not measured with ONNX Runtime")
        import numpy

        self.binding = self.session.io_binding()
        for bind, value, tensor in (
            (self.binding.bind_input, self.session.get_inputs()[0], self.input), (self.binding.bind_output, self.session.get_outputs()[0], self.result)
        ):
            bind(value.name, "cuda", 0, getattr(numpy, element), tuple(tensor.shape), tensor.data_ptr())
        for _ in range(WARM_RUNS):
            self.enqueue()
        torch.cuda.synchronize()

    def enqueue(self):
        self.session.run_with_iobinding(self.binding)

    def output(self):
        torch.cuda.synchronize()
        return self.result.float()


class OnnxRuntimeTensorRt(OnnxRuntime):
    provider = "TensorrtExecutionProvider"
    label = "ONNX Runtime TensorRT"
    provider_options = {"trt_cuda_graph_enable": "1", "trt_fp16_enable": "1"}


class TensorRt(Contender):
    """TensorRT's Python interface, strongly typed, under a CUDA graph."""

    label = "TensorRT"

    def __init__(self, task):
        super().__init__(task)
        trt = load_module("tensorrt")
        logger = trt.Logger(trt.Logger.ERROR)
        builder = trt.Builder(logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, logger)
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            export_typed(task, file.name)
            if not parser.parse_from_file(file.name):
                raise Missing(f"TensorRT {trt.__version__} does not read the model: {parser.get_error(0)}")
        plan = builder.build_serialized_network(network, builder.create_builder_config())
        if plan is None:
            raise Missing(f"TensorRT {trt.__version__} does not build the model")
        self.engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
        self.context = self.engine.create_execution_context()
        self.input = task.images.to(task.dtype).contiguous()
        with torch.no_grad():
            self.result = torch.empty_like(task.network(task.images), dtype=task.dtype)
        for index, tensor in enumerate((self.input, self.result)):
            self.context.set_tensor_address(self.engine.get_tensor_name(index), tensor.data_ptr())
        with torch.cuda.stream(task.stream):
            for _ in range(WARM_RUNS):
                self.context.execute_async_v3(task.stream.cuda_stream)
            task.stream.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, stream=task.stream):
                self.context.execute_async_v3(task.stream.cuda_stream)
        self.enqueue = self.graph.replay

    def output(self):
        torch.cuda.synchronize()
        return self.result.float()


class Tvm(Contender):
    """TVM with its default GPU schedules, untuned."""

    label = "TVM, untuned"

    def __init__(self, task):
        super().__init__(task)
        tvm = load_module("tvm")
        import onnx
        from tvm import dlight, relax
        from tvm.relax.frontend.onnx import from_onnx

        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            export_typed(task, file.name)
            module = from_onnx(onnx.load(file.name), keep_params_in_input=False)
        target = tvm.target.Target.from_device(tvm.cuda(0))
        with target:
            module = relax.get_pipeline("zero")(module)
            module = dlight.ApplyDefaultSchedule(
                dlight.gpu.Matmul(), dlight.gpu.GEMV(), dlight.gpu.Reduction(), dlight.gpu.GeneralReduction(), dlight.gpu.Fallback()
            )(module)
        self.device = tvm.cuda(0)
        self.machine = relax.VirtualMachine(relax.build(module, target), self.device)
        self.input = tvm.runtime.from_dlpack(torch.utils.dlpack.to_dlpack(task.images.to(task.dtype).contiguous()))
        self.device.set_raw_stream(ctypes.c_void_p(task.stream.cuda_stream))
        for _ in range(WARM_RUNS):
            self.enqueue()
        torch.cuda.synchronize()

    def enqueue(self):
        self.result = self.machine["main"](self.input)

    def output(self):
        torch.cuda.synchronize()
        result = self.result if hasattr(self.result, "shape") else self.result[0]
        return torch.utils.dlpack.from_dlpack(result).float()


def export_typed(task, path):
    """The network in the task's precision and batch as ONNX."""
    import copy

    network = copy.deepcopy(task.network).to(task.dtype)
    with torch.no_grad():
        torch.onnx.export(network, (task.images.to(task.dtype),), path, dynamo=False, opset_version=17, input_names=["input"], output_names=["logits"])


CONTENDERS = {
    "fcm": Fcm,
    "fcm-nofuse": FcmUnfused,
    "fcm-tune": FcmTuned,
    "eager": Eager,
    "inductor": Inductor,
    "inductor-max": InductorMaxAutotune,
    "ort-cuda": OnnxRuntime,
    "ort-trt": OnnxRuntimeTensorRt,
    "tensorrt": TensorRt,
    "tvm": Tvm,
}
