"""The trainer of assistants: stage 1 (abstractor) and stage 2 (LoRA) on data files of the field.

settings           every option, its default and its meaning; configuration: presets, YAML files, command line
bases              encoder and language model of a run, taken from what the user has
trainable_modules  abstractor and LoRA: made, loaded, saved
assembly           the assistant of a stage, put together
datasets, rows     rows of data files and synthetic worlds; one row as tokens and labels
clips, features    frames of clips for the encoder; the cache of the encoder's features
batch_sampler      which rows make which step, on which process
module, stage      loss, optimiser and checkpoints on Lightning; the same with its data
checkpoint         safetensors that a killed run goes on from
run                a stage from its settings to its result
estimate           memory and time of a run before it starts
pack               what a run has trained, small enough to be handed on

`python -m g4v.train tiny` trains the parts that only the embedded default has by a recipe, which is found by
its name (`__main__.RECIPES`), and its two stages by this trainer with the preset `tiny`.
"""
