"""What the exporter reads: training runs, overrides of their parts, adapters, LLaMA weights, tokenizers."""
