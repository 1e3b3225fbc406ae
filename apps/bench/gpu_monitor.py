"""Energy, clocks and temperature of the first GPU through NVML; the same method as apps/fcm-bench/energy.h."""

import ctypes
import time

SM_CLOCK = 1
GPU_SENSOR = 0
SILENT_SECONDS = 5


class MonitorError(RuntimeError):
    """NVML or a counter of it is not available; the text says why."""


class GpuMonitor:
    def __init__(self, pci_address):
        try:
            self.nvml = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError as error:
            raise MonitorError(f"NVML cannot be loaded: {error}") from error
        self.nvml.nvmlErrorString.restype = ctypes.c_char_p
        self.check(self.nvml.nvmlInit_v2())
        self.device = ctypes.c_void_p()
        self.check(self.nvml.nvmlDeviceGetHandleByPciBusId_v2(pci_address.encode(), ctypes.byref(self.device)))

    def check(self, status):
        if status != 0:
            raise MonitorError(self.nvml.nvmlErrorString(status).decode())

    def ask(self, function, kind, *arguments):
        value = kind()
        self.check(getattr(self.nvml, function)(self.device, *arguments, ctypes.byref(value)))
        return value.value

    def energy_mj(self):
        return self.ask("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong)

    def sm_mhz(self):
        return self.ask("nvmlDeviceGetClockInfo", ctypes.c_uint, SM_CLOCK)

    def temperature_c(self):
        return self.ask("nvmlDeviceGetTemperature", ctypes.c_uint, GPU_SENSOR)

    def power_limit_w(self):
        return self.ask("nvmlDeviceGetEnforcedPowerLimit", ctypes.c_uint) / 1000

    def driver(self):
        text = ctypes.create_string_buffer(96)
        self.check(self.nvml.nvmlSystemGetDriverVersion(text, 96))
        return text.value.decode()


def watch(read_mj, work, seconds, clock=time.monotonic):
    """Calls `work` (returns the images done since its last call) and reads the counter from its first tick until a tick at least `seconds`
    later. Returns {"seconds", "joules", "images"}. Throws MonitorError when the counter stands still."""
    start = clock()
    images = 0
    previous = first = None
    while True:
        images += work()
        reading = (read_mj(), clock() - start, images)
        if previous is not None and reading[0] != previous:
            first = first or reading
            if reading[1] - first[1] >= seconds:
                return {"seconds": reading[1] - first[1], "joules": (reading[0] - first[0]) / 1000, "images": reading[2] - first[2]}
        previous = reading[0]
        if reading[1] > seconds + SILENT_SECONDS:
            raise MonitorError("the energy counter does not move")


def idle_watts(monitor, seconds=2):
    time.sleep(0.5)

    def rest():
        time.sleep(0.002)
        return 0

    span = watch(monitor.energy_mj, rest, seconds)
    return span["joules"] / span["seconds"]


def energy_result(span, idle_w):
    """The "energy" entry of a result."""
    result = dict(span, watts=span["joules"] / span["seconds"], mj_per_image=1000 * span["joules"] / span["images"], idle_watts=idle_w)
    if idle_w is not None:
        result["mj_per_image_above_idle"] = 1000 * (span["joules"] - idle_w * span["seconds"]) / span["images"]
    return result
