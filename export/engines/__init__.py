"""TensorRT engines and their options."""
