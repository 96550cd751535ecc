"""Quantized weights: tensors that keep their packed form in memory and are dequantized layer by layer.

A ``tensor.QuantizedTensor`` takes the place of a weight in a network; the network's modules stay as they are. What is
here imports no torch: headers are read without it.
"""
