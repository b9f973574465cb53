"""Lightning callbacks: they read outputs and never change them."""

from cst_lightning.callbacks.attention import AttentionCallback
from cst_lightning.callbacks.figures import FiguresCallback
from cst_lightning.callbacks.interpolation import InterpolationCallback
from cst_lightning.callbacks.progress import FitProgressBar
from cst_lightning.callbacks.smoothness import SmoothnessCallback

__all__ = ["AttentionCallback", "FiguresCallback", "FitProgressBar", "InterpolationCallback", "SmoothnessCallback"]
