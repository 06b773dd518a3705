"""Folders of runs as a training leaves them, without the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from mtl.config.mixture import Mixture
from mtl.tracking.checkpoint_file import write_checkpoint
from mtl.tracking.run_folder import RunFolder
from mtl.training.assembly import build_heads, build_module
from mtl.training.module import CHECKPOINT_KEY


def saved_run(root: Path, mixture: Mixture, kind: str = "best") -> tuple[RunFolder, Any]:
    """A run with one checkpoint, and the module whose weights are in it; all of them differ from the first weights.

    Args:
        root: Folder of all runs.
        mixture: The mixture.
        kind: `best` or `last`.
    """
    built = build_heads(mixture)
    module = build_module(mixture, built=built, learning_rate=1e-3)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    run = RunFolder.create(root, mixture.name, mixture.seed)
    run.write_text("mixture.yaml", yaml.safe_dump(mixture.to_dict()))
    private = any(spec.data.private for spec in mixture.tasks.values())
    run.write_encoder(module.encoder.config, built[1], private=private)
    own = {"mixture": mixture.to_dict(), "model": {}, "precision": "32-true"}
    content = {"state_dict": module.state_dict(), "global_step": 3, CHECKPOINT_KEY: own}
    path = run.saved.file(kind, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(path, lambda file: torch.save(content, file))
    run.saved.point(path, {kind: 0.5})
    return run, module.eval()
