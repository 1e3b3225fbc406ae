"""libfcm.so from Python, as far as measurements need it: an engine and a context that runs on device pointers. See fcm/fcm.h."""

import ctypes
import pathlib

ABI_VERSION = 1
MAX_RANK = 8
DEVICE = 1
AS_MODEL = 0


class FcmError(RuntimeError):
    """A status of the library; the text is its message."""


class Port(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_int),
        ("rank", ctypes.c_size_t),
        ("dims", ctypes.c_int64 * MAX_RANK),
        ("batch_dims", ctypes.c_int64 * MAX_RANK),
        ("bytes_per_batch", ctypes.c_size_t),
    ]


class Input(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
        ("space", ctypes.c_int),
        ("format", ctypes.c_int),
        ("mean", ctypes.c_float * 4),
        ("std", ctypes.c_float * 4),
    ]


class Output(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t), ("space", ctypes.c_int)]


class Library:
    """libfcm.so at `path`. Throws FcmError when it cannot be loaded."""

    def __init__(self, path):
        try:
            self.functions = ctypes.CDLL(str(path))
        except OSError as error:
            raise FcmError(f"{path} cannot be loaded: {error}") from error
        f = self.functions
        f.fcm_status_message.restype = ctypes.c_char_p
        f.fcm_status_message.argtypes = [ctypes.c_void_p]
        f.fcm_status_release.argtypes = [ctypes.c_void_p]
        f.fcm_engine_property.restype = ctypes.c_char_p
        f.fcm_engine_property.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        f.fcm_version_text.restype = ctypes.c_size_t
        f.fcm_version_text.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
        for name, arguments in {
            "fcm_options_create": [ctypes.c_uint32, ctypes.c_void_p],
            "fcm_options_set": [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p],
            "fcm_model_load": [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p],
            "fcm_engine_create": [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p],
            "fcm_engine_input": [ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(Port)],
            "fcm_engine_output": [ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(Port)],
            "fcm_context_create": [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p],
            "fcm_context_prepare": [ctypes.c_void_p, ctypes.c_int64],
            "fcm_context_run": [ctypes.c_void_p, ctypes.c_int64, ctypes.POINTER(Input), ctypes.c_size_t, ctypes.POINTER(Output), ctypes.c_size_t, ctypes.c_void_p],
        }.items():
            getattr(f, name).restype = ctypes.c_void_p
            getattr(f, name).argtypes = arguments
        for name in ("options", "model", "engine", "context"):
            getattr(f, f"fcm_{name}_release").argtypes = [ctypes.c_void_p]
            getattr(f, f"fcm_{name}_release").restype = None

    def check(self, status):
        if not status:
            return
        message = self.functions.fcm_status_message(status).decode()
        self.functions.fcm_status_release(status)
        raise FcmError(message)

    def make(self, function, *arguments):
        """A handle from a function whose last argument is where to put it."""
        handle = ctypes.c_void_p()
        self.check(getattr(self.functions, function)(*arguments, ctypes.byref(handle)))
        return handle

    def version_text(self):
        size = self.functions.fcm_version_text(None, 0) + 1
        buffer = ctypes.create_string_buffer(size)
        self.functions.fcm_version_text(buffer, size)
        return buffer.value.decode()


class Session:
    """One model with one input and one output on one batch; `options` are those of fcm_options_set. Throws FcmError."""

    def __init__(self, library, model_path, batch, options):
        self.library = library
        self.batch = batch
        f = library.functions
        self.handles = []
        settings = self.keep("options", library.make("fcm_options_create", ABI_VERSION))
        for key, value in options.items():
            library.check(f.fcm_options_set(settings, key.encode(), str(value).encode()))
        model = self.keep("model", library.make("fcm_model_load", str(pathlib.Path(model_path)).encode(), settings))
        self.engine = self.keep("engine", library.make("fcm_engine_create", model, settings))
        self.input_port, self.output_port = Port(), Port()
        library.check(f.fcm_engine_input(self.engine, 0, ctypes.byref(self.input_port)))
        library.check(f.fcm_engine_output(self.engine, 0, ctypes.byref(self.output_port)))
        self.context = self.keep("context", library.make("fcm_context_create", self.engine, batch))
        library.check(f.fcm_context_prepare(self.context, batch))
        self.run_function = f.fcm_context_run

    def keep(self, kind, handle):
        self.handles.append((kind, handle))
        return handle

    def property(self, key):
        return self.library.functions.fcm_engine_property(self.engine, key.encode()).decode()

    def bind(self, input_pointer, input_bytes, output_pointer, output_bytes, stream):
        """Device buffers and a cudaStream_t for `run`."""
        self.arguments = (
            self.context, self.batch, ctypes.byref(Input(input_pointer, input_bytes, DEVICE, AS_MODEL)), 1,
            ctypes.byref(Output(output_pointer, output_bytes, DEVICE)), 1, stream,
        )

    def run(self):
        """Enqueues one run."""
        status = self.run_function(*self.arguments)
        if status:
            self.library.check(status)

    def close(self):
        while self.handles:
            kind, handle = self.handles.pop()
            getattr(self.library.functions, f"fcm_{kind}_release")(handle)
