"""Quantised weights and activations: round to nearest, GPTQ, dynamic int8, FP8."""
