"""Convert old weights files, which are pickles, to safetensors; nothing else in Safelight opens a pickle."""
