"""A torch network as an ``.onnx`` file, checked against the network itself."""

from featherweight.export.onnx import ExportReport, export_onnx

__all__ = ["ExportReport", "export_onnx"]
