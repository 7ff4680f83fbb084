"""`Model`: a fitted theta that predicts, and the file it is kept in."""

from .model import Model, predict_proba, softmax

__all__ = ["Model", "predict_proba", "softmax"]
