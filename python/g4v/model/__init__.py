"""The GPT4Video model in PyTorch: encoder, abstractor, prompt template and assistant.

Nothing here is imported by the runtime: `import g4v` works where PyTorch is not installed.
"""
