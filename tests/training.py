"""What tests train with."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer


def trainer(folder: Path, epochs: int = 2, **options: Any) -> Trainer:
    """Return a trainer that writes only below `folder`."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(max_epochs=epochs, default_root_dir=folder, **{**quiet, "enable_checkpointing": False, **options})
