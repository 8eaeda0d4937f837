"""A computation on tensors, written down as an ONNX graph."""
