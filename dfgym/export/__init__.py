"""Worlds as ONNX files, and as pages that any static server serves."""
