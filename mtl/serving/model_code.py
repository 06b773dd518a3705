"""The code file of an MLflow model: MLflow copies it to the model's folder, and runs it to load the model."""

from mlflow.models import set_model

from mtl.serving.served_run import ServedRun

set_model(ServedRun())
