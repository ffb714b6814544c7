"""g4v.export: turns a training checkpoint into a bundle (`python -m g4v.export --help`).

Its packages import each other in one direction; each may use those below it:

    bundle         the bundle as a whole: manifest, writer, resume, merge of a partial export
    plan           estimates of an export and of a run
    report         report.json and report.html
    engines        engines of TensorRT and TensorRT for RTX
    components     encoder, abstractor, decoder, text-to-video model, frame checker: load, build, describe
    passes         changes of finished graphs
    verify         comparison with PyTorch, real inputs, ranges of values
    quantisation   round to nearest, GPTQ, dynamic int8, FP8
    graph          writes ONNX graphs
    checkpoint     what is read: training runs, adapters, weights, tokenizers
"""
