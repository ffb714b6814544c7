"""Weights of a language model with NumPy alone: what g4v's commands read and write without PyTorch.

gguf_metadata, gguf_tensors, gguf_codes   GGUF files: what they say, their tensors and their codes
gguf_vocabulary                           the tokenizer file of a bundle, of a byte-level BPE in a GGUF file
lora                                      the product of LoRA's factors
round_to_nearest                          block-wise codes of a matrix
packed_layout, packed_file                the weights of the core's own CPU decoder, and their file

Trainer and exporter use the same code, so that the same weights give the same bytes.
"""
