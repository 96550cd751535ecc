"""What the weights files are that people have: checkpoints, LoRAs, autoencoders and others, of any program."""
