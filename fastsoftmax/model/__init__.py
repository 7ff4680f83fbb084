"""`Model`, fitted parameters that predict, and its file formats."""

from .model import Model, predict_proba, softmax

__all__ = ["Model", "predict_proba", "softmax"]
