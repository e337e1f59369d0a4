"""Checkpoints of form 1: sums of files stand beside the folders of steps, and none inside."""

import json
import pathlib
import zlib

import jax
import numpy as np

from support.training_state import state


def write(workdir: pathlib.Path, *steps: int) -> None:
    """Leave what the version before left."""
    import orbax.checkpoint as ocp

    path = workdir / "checkpoints"
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
    with ocp.CheckpointManager(path, options=options) as manager:
        for step in steps:
            fresh = state(step)
            arrays = jax.tree.map(np.array, fresh._replace(key=jax.random.key_data(fresh.key)))
            content = ocp.args.Composite(
                state=ocp.args.StandardSave(arrays),
                meta=ocp.args.JsonSave({"meta": {"at": step}, "arrays": manifest(arrays)}),
            )
            manager.save(step, args=content)
    sums = {}
    for step in steps:
        root = path / str(step)
        files = [file for file in root.rglob("*") if file.is_file()]
        sums[step] = {f.relative_to(root).as_posix(): zlib.crc32(f.read_bytes()) for f in files}
    (path / "checksums.json").write_text(json.dumps(sums))


def manifest(tree) -> dict[str, list]:
    """{path: [type, shape]} of every array."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    kinds = [[str(leaf.dtype), list(leaf.shape)] for _, leaf in leaves]
    return dict(zip(names, kinds, strict=True))
