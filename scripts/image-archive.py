#!/usr/bin/env python3
"""Writes an OCI archive of one or several images, the same bytes for the same input.

usage: image-archive.py OUT.tar SPEC.json

SPEC.json: {"images": [{"name": "registry/repository:tag", "layers": [FOLDER, ...], "config": {...}}],
            "level": gzip level (default 9), "architecture": GOARCH's name (default: this machine's)}
`config` is the OCI image configuration's own `config` object: User, Env, Entrypoint, Cmd, WorkingDir, Labels.
Everything in a layer belongs to root and dates from SOURCE_DATE_EPOCH (default 0). Layers that images share are
written once. Docker, buildah, podman, skopeo and containerd load the result.
"""

import gzip
import hashlib
import io
import json
import os
import platform
import sys
import tarfile
from datetime import datetime, timezone
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))


def add(archive, name, data):
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(data), EPOCH, 0o644
    archive.addfile(info, io.BytesIO(data))


def layer(folder, level):
    """The compressed tar of a folder, and the digest of the uncompressed one."""
    root = Path(folder)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(root.rglob("*")):
            info = archive.gettarinfo(path, arcname=str(path.relative_to(root)))
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = EPOCH
            if info.isfile():
                with path.open("rb") as file:
                    archive.addfile(info, file)
            else:
                archive.addfile(info)
    plain = plain.getvalue()
    return gzip.compress(plain, compresslevel=level, mtime=0), hashlib.sha256(plain).hexdigest()


class Blobs:
    """The archive's contents by their digest."""

    def __init__(self):
        self.by_digest = {}

    def add(self, data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        self.by_digest[digest] = data
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{digest}", "size": len(data)}

    def add_json(self, value, media_type):
        return self.add(json.dumps(value, sort_keys=True, separators=(",", ":")).encode(), media_type)


def image(spec, layers, blobs, architecture):
    """The index entry of one image."""
    config = blobs.add_json({
        "created": datetime.fromtimestamp(EPOCH, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "architecture": architecture,
        "os": "linux",
        "config": spec["config"],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layers[folder][1]}" for folder in spec["layers"]]},
    }, "config.v1+json")
    manifest = blobs.add_json({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [blobs.add(layers[folder][0], "layer.v1.tar+gzip") for folder in spec["layers"]],
    }, "manifest.v1+json")
    manifest["platform"] = {"architecture": architecture, "os": "linux"}
    manifest["annotations"] = {
        "io.containerd.image.name": spec["name"],
        "org.opencontainers.image.ref.name": spec["name"].rpartition(":")[2],
    }
    return manifest


def main(out, spec_path):
    spec = json.loads(Path(spec_path).read_text())
    machine = platform.machine()
    architecture = spec.get("architecture") or ARCHITECTURES.get(machine, machine)
    level = spec.get("level", 9)
    folders = dict.fromkeys(folder for each in spec["images"] for folder in each["layers"])
    layers = {folder: layer(folder, level) for folder in folders}
    blobs = Blobs()
    manifests = [image(each, layers, blobs, architecture) for each in spec["images"]]
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
    unfinished = f"{out}.new"
    with tarfile.open(unfinished, "w", format=tarfile.GNU_FORMAT) as archive:
        add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        add(archive, "index.json", json.dumps(index, sort_keys=True).encode())
        for digest, data in sorted(blobs.by_digest.items()):
            add(archive, f"blobs/sha256/{digest}", data)
    os.replace(unfinished, out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
