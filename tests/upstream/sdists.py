"""The sources of what is installed, from the package index."""

import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path


def fetch(name: str, directory: Path) -> Path:
    """Unpack the sdist of an installed package and return its folder."""
    wanted = f"{name}=={version(name)}"
    options = ["--no-binary", ":all:", "--no-deps", "--quiet", "--dest", str(directory)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, wanted], check=True)
    [archive] = directory.glob(f"{name}-*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(directory, filter="data")
    return directory / archive.name.removesuffix(".tar.gz")
