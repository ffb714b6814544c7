"""What the exporter reads: training runs, parts that replace the run's, adapters, LLaMA weights tensor by tensor."""
